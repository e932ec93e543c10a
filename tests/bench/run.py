#!/usr/bin/env python3
"""Speed beside other engines, and what HTTP costs on top of ours. Appends to LOG.md beside it; failures are kept there.

Everything decodes 64 tokens after prompts of 64, bfloat16, one thread a process, all contenders in turns in one run. What
was expected stands below and is logged beside what came out.
"""

import argparse
import datetime as dt
import functools
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT / "platform"), str(ROOT)]
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from tests.bench import cores
from tests.bench.contenders import Calmops, Contender, LlamaCpp, Transformers, Wave, prompts
from tests.bench.serving import AIM, Plan, compare
from tests.bench.shape import NAME, SHIPPED, VOCABULARY, shipped, write_llama_88m
from tests.proofs import kit

LOG = HERE / "LOG.md"
HEAD = (
    "# Speed\n\nAppended by `make bench`; failures and disappointments are kept. One thread a process, bfloat16, 64 tokens\n"
    "after prompts of 64; medians. tok/s counts generated tokens over the whole wave, prompts included; in brackets from the\n"
    "moment every sequence had its first token. Pinned: engine on one core, everything else on another.\n\n"
    "| date (UTC) | machine | commit | what | predicted | measured |\n|---|---|---|---|---|---|\n"
)
SEQUENCES = (1, 8, 16, 32)
STREAMS = (1, 8, 32)
LENGTH = 64
SHIPPED_VOCABULARY = 4096
PARTS = ("engines", "http")

# Each written before its cell first ran: tokens per second of the whole wave at 1, 8, 16, 32 sequences on one thread, from
# figures seen with two threads; the share of the engine's tokens per second that comes out of HTTP at 1, 8 and 32 streams.
PREDICTED_TOK_S = {"calmops": (45, 180, 260, 330), "transformers": (40, 130, 190, 250), "llama.cpp": (90, 250, 330, 380)}
PREDICTED_RATIO = {NAME: (0.97, 0.93, 0.90), SHIPPED: (0.90, 0.80, 0.60)}
PREDICTED_TTFT_MS = 12


def main() -> int:
    """Run it all; 0 if it ran."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="of ABBA; each times everything twice")
    parser.add_argument("--only", choices=PARTS, help="one part of it")
    arguments = parser.parse_args()
    for line in bench(arguments.rounds, [arguments.only] if arguments.only else PARTS):
        print(line, flush=True)
    return 0


def bench(rounds: int, parts: Sequence[str] = PARTS) -> Iterator[str]:
    """Each figure, logged as soon as it is known."""
    torch.set_num_threads(1)
    print(f"{machine()}, commit {commit()}", flush=True)
    with tempfile.TemporaryDirectory(prefix="calmops-bench-") as temporary:
        workspace = Path(temporary)
        release = write_llama_88m(workspace / NAME)
        if "engines" in parts:
            field, absent = contenders(release, workspace)
            for pinned in (True, False):
                yield from log(f"{NAME}, engines, {where(pinned)}{absent}", engines(field, rounds, pinned=pinned))
            field.clear()
        if "http" in parts:
            yield from serving(Plan(SHIPPED, SHIPPED_VOCABULARY, STREAMS, 2 * rounds), shipped(), workspace)
            yield from serving(Plan(NAME, VOCABULARY, STREAMS, rounds), release, workspace)


def contenders(release: Path, workspace: Path) -> tuple[dict[str, Contender], str]:
    """Who takes part, and a remark on who can't."""
    field: dict[str, Contender] = {"calmops": Calmops(release), "transformers": Transformers(release)}
    missing = [name for name in ("llama_cpp", "gguf") if importlib.util.find_spec(name) is None]
    if missing:
        remark = f"; llama.cpp left out: {' and '.join(missing)} not installed (pip install -e .[bench])"
        print(remark.removeprefix("; "), flush=True)
        return field, remark
    from tests.bench.gguf_from_release import convert

    field["llama.cpp"] = LlamaCpp(convert(release, workspace / "model.gguf"))
    return field, ""


def engines(field: dict[str, Contender], rounds: int, *, pinned: bool) -> tuple[str, str]:
    """Predicted and measured tokens per second of each, at each number of sequences."""
    waves = in_turns(field, rounds, SEQUENCES, VOCABULARY, pinned=pinned)
    measured = "; ".join(
        f"{name} {', '.join(_cell(waves[name, count]) for count in SEQUENCES)}" for name in field
    )
    predicted = "; ".join(f"{name} {', '.join(map(str, PREDICTED_TOK_S[name]))}" for name in field)
    return f"{predicted} tok/s", f"{measured} tok/s at {', '.join(map(str, SEQUENCES))} sequences"


def in_turns(
    field: dict[str, Contender], rounds: int, counts: Sequence[int], vocabulary: int, *, pinned: bool
) -> dict[tuple[str, int], list[Wave]]:
    """Waves by contender and number of sequences, ABBA: two a round of each."""
    cores.pin_self(cores.ENGINE if pinned else cores.ALL)
    for contender in field.values():
        contender.wave(prompts("warm-up", 2, LENGTH, vocabulary), 4)
    waves: dict[tuple[str, int], list[Wave]] = {}
    for count in counts:
        for number, name in enumerate([*field, *reversed(field)] * rounds):
            given = prompts(f"{count}/{number}", count, LENGTH, vocabulary)
            waves.setdefault((name, count), []).append(field[name].wave(given, LENGTH))
        print(f"{count} sequences, {where(pinned)}: {'; '.join(_cell(waves[name, count], name) for name in field)}", flush=True)
    cores.pin_self(cores.ALL)
    return waves


def serving(plan: Plan, folder: Path, workspace: Path) -> Iterator[str]:
    """HTTP over engine, pinned and not, of one model."""
    for pinned, streams, compared in compare(plan, folder, workspace, (True, False)):
        predicted = PREDICTED_RATIO[plan.name][plan.streams.index(streams)]
        what = f"{plan.name}, HTTP over engine, {streams} streams, {where(pinned)}"
        yield from log(what, (f"ratio {predicted:.2f}, +{PREDICTED_TTFT_MS} ms", f"{compared.summary()}; aim {AIM} {compared.aim}"))


def log(what: str, figures: tuple[str, str]) -> Iterator[str]:
    """Append one line to LOG.md, and give it back for the screen."""
    if not LOG.exists():
        LOG.write_text(HEAD, encoding="utf-8")
    predicted, measured = figures
    date = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M")
    with LOG.open("a", encoding="utf-8") as opened:
        opened.write(f"| {date} | {machine()} | {commit()} | {what} | {predicted} | {measured} |\n")
    yield f"{what}: {measured} (predicted {predicted})"


def where(pinned: bool) -> str:
    """How the processes were placed."""
    return "pinned" if pinned else "unpinned"


def machine() -> str:
    """Processor, cores and code path of this machine."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    return f"{cpu or platform.processor()}, {len(cores.ALL)} cores, {torch.backends.cpu.get_cpu_capability()}"


@functools.cache
def commit() -> str:
    """The checkout's commit when first asked; a plus sign means that tracked files differed from it."""
    said = [
        subprocess.run(["git", *what], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        for what in (("rev-parse", "--short=10", "HEAD"), ("status", "--porcelain", "-uno", "--", "platform", "actors"))
    ]
    return said[0] + ("+" if said[1] else "")


def _cell(waves: list[Wave], name: str = "") -> str:
    whole, decode = (
        kit.quantile(values, 0.5) for values in ([w.tokens_per_s for w in waves], [w.decode_tokens_per_s for w in waves])
    )
    return f"{name} {whole:.0f} ({decode:.0f})".strip()


if __name__ == "__main__":
    sys.exit(main())
