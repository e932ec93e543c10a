"""Server programs on this machine's loopback outlive the process that started them.

Each has a folder of its own for its log and its pid, so any process may stop what another one started.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from calmops.foundation.errors import SetupError
from calmops.foundation.live_process import created_s, lives, started_ticks

POLL_S = 0.05
LOG_TAIL = 600  # characters of the log that an error repeats
CREATED_TOLERANCE_S = 0.05


class _PidFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """Names the program's process. Version 0.1 wrote ``created_s`` instead of ticks; that is read for one release."""

    pid: int
    started_ticks: int | None = None
    created_s: float | None = None  # Unix time


class LocalProcess:
    """Starts, finds and ends one program."""

    def __init__(self, name: str, folder: Path, ports: Sequence[int]) -> None:
        """Keep log and pid in ``folder``. ``ports`` are those of 127.0.0.1 that the program will listen on."""
        self.name = name
        self.folder = folder
        self._ports = ports
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Return the pid of the running program; None if it doesn't run."""
        running = self._running()
        return None if running is None else running[0]

    def start(self, command: Sequence[str], ready: Callable[[], bool], timeout_s: float) -> None:
        """Start the program, or leave it running; return once it is ready. Raises SetupError with the remedy."""
        if self._running() is not None:
            return
        self.refuse_taken_ports()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                list(command),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        pid_file = _PidFile(self._child.pid, started_ticks(self._child.pid))
        self._pid_path.write_bytes(msgspec.json.encode(pid_file))
        self._await(self._child, ready, timeout_s)

    def refuse_taken_ports(self) -> None:
        """Raise SetupError if another process already listens on one of the ports."""
        for port in self._ports:
            if answers(port):
                remedy = "end that, or choose another port"
                raise SetupError(f"{self.name}: port {port} of 127.0.0.1 is taken by another process; {remedy}")

    def stop(self, timeout_s: float = 15.0) -> bool:
        """End the program by SIGTERM, after ``timeout_s`` by SIGKILL. Return whether it was running."""
        return self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> bool:
        """End the program by SIGKILL. Return whether it was running."""
        return self._end(signal.SIGKILL, 5.0)

    @property
    def _log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def _pid_path(self) -> Path:
        return self.folder / "pid"

    def _await(self, child: "subprocess.Popen[bytes]", ready: Callable[[], bool], timeout_s: float) -> None:
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            if child.poll() is not None:
                said = self._log.read_text("utf-8", "replace")[-LOG_TAIL:].strip()
                raise SetupError(f"{self.name} ended with {child.returncode} while starting: {said}")
            if ready():
                return
            time.sleep(POLL_S)
        self.kill()
        raise SetupError(f"{self.name} wasn't ready after {timeout_s:.0f} s; its log is {self._log}")

    def _running(self) -> tuple[int, int] | None:
        """Return the running program's pid and the clock ticks at which it started; None if it doesn't run."""
        try:
            noted = msgspec.json.decode(self._pid_path.read_bytes(), type=_PidFile)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        ticks = started_ticks(noted.pid) if noted.started_ticks is None else noted.started_ticks
        if ticks is None or not lives(noted.pid, ticks):
            return None
        if noted.started_ticks is None and not _is_as_old(ticks, noted.created_s):
            return None
        return noted.pid, ticks

    def _end(self, how: signal.Signals, timeout_s: float) -> bool:
        running = self._running()
        if running is None:
            return False
        pid, ticks = running
        _send(pid, how)
        if how is signal.SIGTERM:
            _send(pid, signal.SIGCONT)  # a stopped process wouldn't act on SIGTERM
        try:
            self._reap(pid, ticks, timeout_s)
        except subprocess.TimeoutExpired:
            _send(pid, signal.SIGKILL)
            self._reap(pid, ticks, timeout_s)
        self._pid_path.unlink(missing_ok=True)
        return True

    def _reap(self, pid: int, ticks: int, timeout_s: float) -> None:
        """Wait until the process has ended. Raises subprocess.TimeoutExpired."""
        if self._child is not None and self._child.pid == pid:
            self._child.wait(timeout_s)
            return
        end_s = time.monotonic() + timeout_s
        while lives(pid, ticks):  # a zombie doesn't live: its parent may never ask how it ended
            if time.monotonic() > end_s:
                raise subprocess.TimeoutExpired(self.name, timeout_s)
            time.sleep(POLL_S)


def answers(port: int) -> bool:
    """Return whether somebody listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_as_old(ticks: int, created: float | None) -> bool:
    """Return whether a process that started at ``ticks`` is the one of a pid file of version 0.1."""
    return created is not None and abs(created_s(ticks) - created) < CREATED_TOLERANCE_S


def _send(pid: int, how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended in the meantime
        os.kill(pid, how)
