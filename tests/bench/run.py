#!/usr/bin/env python3
"""Times calmops beside other engines, and what HTTP and telemetry cost: `make bench PARTS="engine http"`, or all.

  engine     decoding beside llama.cpp: the 88 M shape, the 0.5 B shape, the mixed workload
  prefill    prompts beside llama.cpp, in chunks of 64, 256 and 512 rows
  families   each family that the kernel runs, beside the same engine stepping transformers' modules
  memory     resident memory beside llama.cpp and transformers
  http       tokens per second through the whole platform over those of the engine alone
  telemetry  tokens per second that the meter folds on one core, from the spool and from Kafka

Each part ends in one line of ratios. Everything is bfloat16 and in turns in one run. The predictions stand in this file
and are logged beside the results in LOG.md; failures are kept there.
"""

import argparse
import datetime as dt
import functools
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT / "platform"), str(ROOT)]
os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))

import torch

from calmops.engine.families import KERNEL_FAMILIES
from tests.bench import cores, fold_speed, kernel_beside_llama
from tests.bench.contenders import Calmops, prompts
from tests.bench.shape import (
    LARGE,
    LARGE_VOCABULARY,
    NAME,
    SHIPPED,
    SHIPPED_VOCABULARY,
    VOCABULARY,
    shipped,
    write_family,
    write_llama_88m,
    write_llama_500m,
)
from tests.bench.through_http import AIM, Plan, compare
from tests.support.proofs import kit

LOG = HERE / "LOG.md"
STREAMS = (1, 8, 32)
KINDS = ("kernel", "kernel int8", "transformers", "llama.cpp")

# Each prediction was written before its part first ran. Ratios to llama.cpp are with AVX2 and two threads; those of
# HTTP are shares of the engine's tokens per second at 1, 8 and 32 streams; those of telemetry are tokens per second
# folded over the bars, which are fold_speed's aims.
PREDICTED = {
    "engine": "88m 1.2, 1.9, 1.9, 1.9, 1.7 at B=1, 4, 8, 16, 32; mixed 1.6; 500m 1.1, 1.8 at B=1, 8",
    "prefill": "1.2 in chunks of 64, 256 and 512",
    "families": "15 to 30 with AVX2, where torch emulates bfloat16; 4 to 8 with avx512_bf16",
    "memory": "kernel 1.4 of llama.cpp, int8 1.0, transformers 1.4",
    "telemetry": "1.4 and 1.2 of the bars",
}
PREDICTED_RATIO = {NAME: (0.97, 0.95, 0.95), SHIPPED: (0.90, 0.80, 0.60)}
PREDICTED_TTFT_MS = 12


def main() -> int:
    """Run the parts that the command line names, or all; return 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", type=part_name, help="default: all")
    parser.add_argument("--rounds", type=int, default=5, help="of each comparison")
    arguments = parser.parse_args()
    torch.set_num_threads(kernel_beside_llama.THREADS)
    print(f"{machine()}, commit {commit()}", flush=True)
    with tempfile.TemporaryDirectory(prefix="calmops-bench-") as workspace:
        for part in arguments.parts or PARTS:
            missing = [name for name in ("llama_cpp", "gguf") if importlib.util.find_spec(name) is None]
            if missing and part in ("engine", "prefill", "memory"):
                print(f"{part}: left out, {' and '.join(missing)} not installed (run: calmops setup bench)", flush=True)
                continue
            for what, predicted, measured in PARTS[part](Path(workspace), arguments.rounds):
                log(what, predicted, measured)
    return 0


Figures = Iterator[tuple[str, str, str]]  # what, predicted, measured


def engine(workspace: Path, rounds: int) -> Figures:
    """Compare decoding and the mixed workload with llama.cpp."""
    board = kernel_beside_llama.Board(rounds)
    release, gguf = release_and_gguf(workspace, NAME)
    kernel_beside_llama.decode(board, release, gguf, dict.fromkeys((1, 4, 8, 16, 32), 0.0), VOCABULARY, "88m")
    kernel_beside_llama.limits(board)
    kernel_beside_llama.mixed(board, release, gguf, 0.0)
    kernel_beside_llama.decode(
        board, *release_and_gguf(workspace, LARGE), dict.fromkeys((1, 8), 0.0), LARGE_VOCABULARY, "500m"
    )
    yield "engine over llama.cpp", PREDICTED["engine"], ratios(board.ratios)


def prefill(workspace: Path, rounds: int) -> Figures:
    """Compare the processing of prompts with llama.cpp."""
    board = kernel_beside_llama.Board(rounds)
    kernel_beside_llama.prefill(board, *release_and_gguf(workspace, NAME), (64, 256, 512), 0.0)
    yield "prefill over llama.cpp", PREDICTED["prefill"], ratios(board.ratios)


def families(workspace: Path, rounds: int) -> Figures:
    """Compare the kernel with transformers' own modules behind the same engine, 8 sequences."""
    board = kernel_beside_llama.Board(rounds)
    for family in KERNEL_FAMILIES:
        release = write_family(family, workspace / family)
        ours, theirs = (
            Calmops(release, threads=kernel_beside_llama.THREADS, backend=backend)
            for backend in ("kernel", "transformers")
        )

        def timed(contender: Calmops) -> kernel_beside_llama.Timed:
            return lambda seed: contender.wave(prompts(seed, 8, 16, VOCABULARY), 16).decode_tokens_per_s

        board.beside(family, timed(ours), {"transformers": timed(theirs)}, 0.0)
    yield "kernel over transformers' modules, 8 sequences", PREDICTED["families"], ratios(board.ratios)


def memory(workspace: Path, _rounds: int) -> Figures:
    """Compare resident bytes of fresh processes that decoded a wave of 16, minus what their imports took."""
    release, gguf = release_and_gguf(workspace, NAME)
    command = [sys.executable, "-m", "tests.bench.resident_memory"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"}
    sizes: dict[str, int] = {}
    for kind in KINDS:
        run = subprocess.run(
            [*command, kind, str(release), str(gguf)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        sizes[kind] = json.loads(run.stdout.splitlines()[-1])
        print(f"{kind}: {sizes[kind] / 2**20:.0f} MiB", flush=True)
    peer = sizes["llama.cpp"]
    measured = ", ".join(f"{kind} {size / peer:.2f} ({size / 2**20:.0f} MiB)" for kind, size in sizes.items())
    yield f"{NAME}, resident memory over llama.cpp's", PREDICTED["memory"], measured


def telemetry(workspace: Path, rounds: int) -> Figures:
    """Measure how many tokens per second the meter folds."""
    spool_rates, kafka_rates = fold_speed.from_spool_and_kafka(workspace, 20_000, rounds)
    spool, kafka = kit.quantile(spool_rates, 0.5), kit.quantile(kafka_rates, 0.5)
    measured = (
        f"spool {spool / fold_speed.SPOOL_AIM:.2f} ({spool:,.0f} tok/s), "
        f"Kafka {kafka / fold_speed.KAFKA_AIM:.2f} ({kafka:,.0f} tok/s)"
    )
    yield "folded tokens per second over the bars", PREDICTED["telemetry"], measured


def http(workspace: Path, rounds: int) -> Figures:
    """Compare HTTP with the engine alone, pinned and not, for the shipped model and the 88 M shape."""
    medians: dict[str, float] = {}
    release, _ = release_and_gguf(workspace, NAME, gguf=False)
    for plan, folder in (
        (Plan(SHIPPED, SHIPPED_VOCABULARY, STREAMS, 2 * rounds), shipped()),
        (Plan(NAME, VOCABULARY, STREAMS, max(2, rounds)), release),
    ):
        for pinned, streams, compared in compare(plan, folder, workspace, (True, False)):
            share = PREDICTED_RATIO[plan.name][plan.streams.index(streams)]
            what = f"{plan.name}, HTTP over engine, {streams} streams, {'pinned' if pinned else 'unpinned'}"
            medians[what.replace(", HTTP over engine", "")] = kit.quantile(compared.ratios, 0.5)
            yield what, f"ratio {share:.2f}, +{PREDICTED_TTFT_MS} ms", f"{compared.summary()}; aim {AIM} {compared.aim}"
    print(f"HTTP over engine: {ratios(medians)}", flush=True)


PARTS: dict[str, Callable[[Path, int], Figures]] = {
    "engine": engine, "prefill": prefill, "families": families, "memory": memory, "http": http, "telemetry": telemetry
}  # fmt: skip


def release_and_gguf(workspace: Path, name: str, *, gguf: bool = True) -> tuple[Path, Path]:
    """Return a release with random weights and the same as GGUF; write each once."""
    release, converted_to = workspace / name, workspace / f"{name}.gguf"
    if not release.exists():
        {NAME: write_llama_88m, LARGE: write_llama_500m}[name](release)
    if gguf and not converted_to.exists():
        from tests.bench.gguf_from_release import convert

        convert(release, converted_to)
    return release, converted_to


def part_name(text: str) -> str:
    """Return ``text`` if it names a part; otherwise argparse reports the error."""
    if text not in PARTS:
        raise argparse.ArgumentTypeError(f"there is no part {text!r}; the parts are {', '.join(PARTS)}")
    return text


def ratios(by_name: dict[str, float]) -> str:
    """Return the ratios as one line."""
    return ", ".join(f"{name} {ratio:.2f}" for name, ratio in by_name.items())


def log(what: str, predicted: str, measured: str) -> None:
    """Append one line to LOG.md, and print it."""
    date = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M")
    with LOG.open("a", encoding="utf-8") as file:
        file.write(f"| {date} | {machine()} | {commit()} | {what} | {predicted} | {measured} |\n")
    print(f"{what}: {measured} (predicted {predicted})", flush=True)


def machine() -> str:
    """Return this machine's processor, number of cores and code path."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    return f"{cpu or platform.processor()}, {len(cores.ALL)} cores, {torch.backends.cpu.get_cpu_capability()}"


@functools.cache
def commit() -> str:
    """Return the checkout's commit, read once; a plus sign means that tracked files differ from it."""
    head, changes = [
        subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        for arguments in (
            ("rev-parse", "--short=10", "HEAD"),
            ("status", "--porcelain", "-uno", "--", "platform", "actors"),
        )
    ]
    return head + ("+" if changes else "")


if __name__ == "__main__":
    sys.exit(main())
