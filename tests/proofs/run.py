#!/usr/bin/env python3
"""Runs the proofs, one after another, and says which hold.

A proof is an executable `tests/proofs/<topic>-<n>-<what>` that takes `--short` or `--long`, prints its figure last and
exits 0 only where its claim holds. Near its top it declares, in comments, `# paths: ...` (what it depends on; `!path`, what
it doesn't, within that) and, if it wants a shared platform, `# needs: platform` or `# needs: observed` (shared_platform.py),
or `# needs: platform (short form)`, if only then: its address is in CALMOPS_PROOF_URL. Short forms share one, the observed one.

--short: 25 minutes for all of them together. --long: 30 minutes each, from a clean checkout only; every result is
appended to LOG.md, and what still stands there (it held, and nothing changed since under its paths) is skipped, so that
an interrupted run is taken up again by the same command.
"""

import argparse
import contextlib
import datetime as dt
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT / "platform"), str(ROOT)]

from tests.support.proofs.machine_pauses import MachineWatch
from tests.support.proofs.shared_platform import KINDS, OBSERVED, SharedPlatform, checkout_environment

LOG = HERE / "LOG.md"
LOGS = ("tests/proofs/LOG.md", "tests/bench/LOG.md")
NAME = re.compile(r"^[a-z]+(_[a-z]+)*-\d+-[a-z0-9_-]+$")
SHORT_BUDGET_S = 25 * 60
LONG_BUDGET_S = 30 * 60
HEADER_LINES = 40
TAIL_LINES = 60
HEAD = (
    "# Proofs, long forms\n\nAppended by `make prove-long`; failures are kept.\n\n"
    "| date (UTC) | proof | holds | machine | commit | seconds | figure |\n|---|---|---|---|---|---|---|\n"
)


class Proof(NamedTuple):
    """One executable and what it declares."""

    path: Path
    paths: tuple[str, ...]
    needs: str | None  # a kind of shared platform

    @property
    def name(self) -> str:
        return self.path.name


class Result(NamedTuple):
    """How one run ended. ``figure`` is the last line printed, or why there is none."""

    proof: Proof
    holds: bool
    seconds: float
    figure: str
    skipped: bool = False
    said: str = ""  # the last lines of one that does not hold


def main() -> int:
    """Run what was asked for; 0 only if every proof holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--short", action="store_true")
    form.add_argument("--long", action="store_true")
    parser.add_argument(
        "--again",
        action="store_true",
        help="long forms that stand too: where a figure was taken beside other work, say",
    )
    parser.add_argument("names", nargs="*", help="only the proofs whose name begins with one of these")
    arguments = parser.parse_args()
    proofs = [proof for proof in discover(long=arguments.long) if matches(proof, arguments.names)]
    if not proofs:
        print("no proof bears such a name" if arguments.names else f"no proofs in {HERE}")
        return 1
    if arguments.long and (dirty := uncommitted()):
        print("the long form logs a commit, so everything must be committed first:\n" + "\n".join(dirty))
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the running proof and the platform end too
    results = run_all(proofs, long=arguments.long, again=arguments.again)
    print(table(results))
    return 0 if all(result.holds for result in results) and len(results) == len(proofs) else 1


def discover(*, long: bool) -> list[Proof]:
    """Every proof, those that need a platform last and by its kind, so that none runs longer than it must."""
    found = [declared(path, long=long) for path in HERE.iterdir() if NAME.match(path.name) and os.access(path, os.X_OK)]
    return sorted(found, key=lambda proof: ([None, *KINDS].index(proof.needs), proof.name))


def declared(path: Path, *, long: bool) -> Proof:
    """Read a proof's declarations."""
    head = path.read_text(encoding="utf-8").splitlines()[:HEADER_LINES]
    paths = [name for line in head if line.startswith("# paths:") for name in line[len("# paths:") :].split()]
    lines = [line for line in head if line.startswith("# needs:") and not (long and "(short form)" in line)]
    needs = [kind for line in lines for kind in line.split() if kind in KINDS]
    return Proof(
        path, tuple(paths), None if not needs else needs[0] if long else OBSERVED
    )  # it can do all that the other can


def matches(proof: Proof, names: list[str]) -> bool:
    return not names or any(proof.name.startswith(Path(name).name) for name in names)


def run_all(proofs: list[Proof], *, long: bool, again: bool = False) -> list[Result]:
    """One after another, within the time there is."""
    results: list[Result] = []
    logged = log_entries()
    ends_s = time.monotonic() + SHORT_BUDGET_S
    with tempfile.TemporaryDirectory(prefix="calmops-proofs-") as folder, contextlib.ExitStack() as running:
        platforms = {kind: running.enter_context(SharedPlatform(Path(folder), kind)) for kind in KINDS}
        for number, proof in enumerate(proofs, 1):
            for kind, platform in platforms.items():
                if proof.needs is not None and proof.needs != kind:
                    platform.stop()
            print(f"[{number}/{len(proofs)}] {proof.name} ...", flush=True)
            if long and not again and (standing := stands(proof, logged)):
                result = standing
            else:
                budget_s = LONG_BUDGET_S if long else ends_s - time.monotonic()
                result = run(proof, "--long" if long else "--short", budget_s, platforms)
                if long:
                    append(result)
            results.append(result)
            print(f"    {verdict(result)} in {result.seconds:.0f} s: {result.figure}", flush=True)
    return results


def run(proof: Proof, form: str, budget_s: float, platforms: Mapping[str, SharedPlatform]) -> Result:
    """Run one proof in a process group of its own, which is ended whole when its time is over."""
    strange = [name for name in proof.paths if not (ROOT / name.removeprefix("!")).exists()]
    if strange or not proof.paths:
        return Result(proof, False, 0.0, f"`# paths:` names what isn't there: {' '.join(strange) or 'nothing at all'}")
    if budget_s <= 1:
        return Result(proof, False, 0.0, f"not run: the {SHORT_BUDGET_S} s for all short forms are used up")
    began_s = time.monotonic()
    environment = checkout_environment()
    if proof.needs is not None:
        platform = platforms[proof.needs]
        trouble = platform.start()
        if trouble is not None:
            return Result(proof, False, time.monotonic() - began_s, trouble)
        environment |= platform.environment()
    process = subprocess.Popen(
        [*interpreter(proof), str(proof.path), form], cwd=ROOT, env=environment, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    with MachineWatch() as watch:
        try:
            printed, _ = process.communicate(timeout=max(1.0, budget_s - (time.monotonic() - began_s)))
        except subprocess.TimeoutExpired:
            printed = end(process) + f"\nended after {budget_s:.0f} s, its time being over"
        except BaseException:
            end(process)
            raise
    seconds = time.monotonic() - began_s
    lines = [line for line in printed.splitlines() if line.strip()]
    figure = lines[-1].strip() if lines else f"printed nothing, exit {process.returncode}"
    if process.returncode == 0:
        return Result(proof, True, seconds, figure)
    said = "\n".join(f"    | {line}" for line in [*lines[-TAIL_LINES:], watch.said()])
    print(said)
    return Result(proof, False, seconds, figure, said=said)


def interpreter(proof: Proof) -> list[str]:
    """Python proofs run under this very interpreter, so that they find what it has installed."""
    with proof.path.open("rb") as script:
        return [sys.executable] if b"python" in script.readline() else []


def end(process: subprocess.Popen[str]) -> str:
    """End a proof's process group: politely, then not. Returns what it had printed."""
    for ending, wait_s in ((signal.SIGTERM, 15), (signal.SIGKILL, 15)):
        try:
            os.killpg(process.pid, ending)
            printed, _ = process.communicate(timeout=wait_s)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
        return printed or ""
    return ""


def stands(proof: Proof, logged: dict[str, dict[str, str]]) -> Result | None:
    """The logged result, if the newest one held and nothing changed since under the proof's paths."""
    entry = logged.get(proof.name)
    if entry is None or entry["holds"] != "yes" or not proof.paths:
        return None
    own = [str(proof.path.relative_to(ROOT)), *(re.sub("^!", ":(exclude)", name) for name in proof.paths)]
    same = git("diff", "--quiet", entry["commit"], "HEAD", "--", *own)
    if same.returncode != 0:
        return None
    return Result(proof, True, 0.0, f"{entry['figure']} (stands since {entry['date (UTC)']})", skipped=True)


def log_entries() -> dict[str, dict[str, str]]:
    """The newest logged entry of each proof."""
    if not LOG.exists():
        return {}
    rows = [split_row(line) for line in LOG.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    columns = rows[0] if rows else []
    return {entry["proof"]: entry for entry in (dict(zip(columns, row, strict=True)) for row in rows[2:])}


def append(result: Result) -> None:
    """One line more in LOG.md, at once, so that an interrupted run loses nothing."""
    if not LOG.exists():
        LOG.write_text(HEAD, encoding="utf-8")
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M")
    commit = git("rev-parse", "--short=12", "HEAD").stdout.strip()
    cells = [
        now,
        result.proof.name,
        "yes" if result.holds else "NO",
        machine(),
        commit,
        f"{result.seconds:.0f}",
        result.figure,
    ]
    with LOG.open("a", encoding="utf-8") as log:
        log.write("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")


def split_row(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def machine() -> str:
    """Processor and how many cores of it are ours."""
    models = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return f"{models[0] if models else 'unknown processor'}, {len(os.sched_getaffinity(0))} cores"


def uncommitted() -> list[str]:
    """What differs from HEAD, the logs themselves apart."""
    lines = git("status", "--porcelain").stdout.splitlines()
    return [line for line in lines if line[3:] not in LOGS]


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def verdict(result: Result) -> str:
    return "stands" if result.skipped else "holds" if result.holds else "DOES NOT HOLD"


def table(results: list[Result]) -> str:
    """What a person reads at the end: what fails last, since of a long log often only the end is kept."""
    width = max(len(result.proof.name) for result in results)
    lines = [
        f"{result.proof.name:<{width}}  {verdict(result):<13}  {result.seconds:6.0f} s  {result.figure}"
        for result in sorted(results, key=lambda result: not result.holds)
    ]
    said = [f"{result.proof.name} said last:\n{result.said}" for result in results if result.said]
    held = sum(result.holds for result in results)
    return "\n".join(["", *lines, *said, f"{held} of {len(results)} proofs hold"])


if __name__ == "__main__":
    sys.exit(main())
