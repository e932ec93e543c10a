"""Run one proof in a process of its own, with the shared platform that it needs, and say how it ended."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support.proofs.machine_pauses import MachineWatch
from tests.support.proofs.runner.changes import ROOT, missing_paths
from tests.support.proofs.runner.proof import Proof
from tests.support.proofs.shared_platform import KINDS, SharedPlatform, checkout_environment

TAIL_LINES = 60


class Form(NamedTuple):
    """The form of a proof that is run."""

    option: str  # --short or --long
    limit_s: float


class Result(NamedTuple):
    """How one form ended."""

    name: str
    holds: bool
    seconds: float
    figure: str  # the last line that it printed, or why there is none
    stands: bool = False  # it wasn't run: its entry in the log is still true
    last_lines: str = ""  # of one that doesn't hold


class Platforms:
    """The shared platforms of one run, started when the first proof needs them."""

    def __init__(self, platforms: Mapping[str, SharedPlatform]) -> None:
        self._platforms = platforms
        self.start_s: dict[str, float] = {}  # how long the start of each kind took

    def started(self, kind: str | None) -> bool:
        """Say whether that kind was started in this run; None, no kind, never is."""
        return kind in self.start_s

    def environment(self, needs: str | None) -> tuple[dict[str, str], str | None]:
        """Return what a proof finds in its environment, and what went wrong. Ends the platforms of other kinds."""
        if needs is None:
            return checkout_environment(), None
        for kind, platform in self._platforms.items():
            if kind != needs:
                platform.stop()
        began_s = time.monotonic()
        trouble = self._platforms[needs].start()
        self.start_s.setdefault(needs, time.monotonic() - began_s)
        address = {} if trouble is not None else self._platforms[needs].environment()
        return checkout_environment() | address, trouble


@contextlib.contextmanager
def shared_platforms() -> Iterator[Platforms]:
    """Yield the platforms of one run; whatever was started ends with the block."""
    with tempfile.TemporaryDirectory(prefix="calmops-proofs-") as folder, contextlib.ExitStack() as running:
        yield Platforms({kind: running.enter_context(SharedPlatform(Path(folder), kind)) for kind in KINDS})


def run(proof: Proof, form: Form, platforms: Platforms) -> Result:
    """Run one form of a proof; it is ended, and doesn't hold, after its limit."""
    missing = missing_paths(proof)
    if missing or not proof.paths:
        declared = " ".join(missing) or "nothing at all"
        return Result(proof.name, False, 0.0, f"`# paths:` names what isn't there: {declared}")
    environment, trouble = platforms.environment(proof.needs)
    if trouble is not None:
        return Result(proof.name, False, 0.0, trouble)
    began_s = time.monotonic()
    process = subprocess.Popen(
        [*interpreter(proof), str(proof.path), form.option], cwd=ROOT, env=environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    with MachineWatch() as watch:
        try:
            printed, _ = process.communicate(timeout=form.limit_s)
        except subprocess.TimeoutExpired:
            printed = end(process) + f"\nended after {form.limit_s:.0f} s, its time being over"
            process.returncode = process.returncode or 1
        except BaseException:
            end(process)
            raise
    seconds = time.monotonic() - began_s
    lines = [line for line in printed.splitlines() if line.strip()]
    figure = lines[-1].strip() if lines else f"printed nothing, exit {process.returncode}"
    if process.returncode == 0:
        return Result(proof.name, True, seconds, figure)
    last_lines = "\n".join(f"    | {line}" for line in [*lines[-TAIL_LINES:], watch.summary()])
    return Result(proof.name, False, seconds, figure, last_lines=last_lines)


def interpreter(proof: Proof) -> list[str]:
    """Return this very interpreter for a proof in Python, so that it finds what is installed here."""
    with proof.path.open("rb") as script:
        return [sys.executable] if b"python" in script.readline() else []


def end(process: subprocess.Popen[str]) -> str:
    """End a proof's process group, politely and then by force. Return what it had printed."""
    for ending, wait_s in ((signal.SIGTERM, 15), (signal.SIGKILL, 15)):
        try:
            os.killpg(process.pid, ending)
            printed, _ = process.communicate(timeout=wait_s)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
        return printed or ""
    return ""
