"""A server program on this machine's loopback that outlives who started it: its log and its pid lie in a folder of its own."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import psutil

from calmops.foundation.errors import SetupError

POLL_S = 0.05
LOG_TAIL = 600  # characters that an error repeats


class _Running(msgspec.Struct, frozen=True):
    """Which process is ours: a pid alone may have been given to another since."""

    pid: int
    created_s: float


class LocalProcess:
    """One program. Any process may stop what another one started."""

    def __init__(self, name: str, folder: Path, ports: Sequence[int]) -> None:
        """``ports`` of 127.0.0.1 that it will listen on."""
        self.name = name
        self.folder = folder
        self._ports = ports
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Of the running program; None if there is none."""
        process = self._find()
        return process.pid if process is not None else None

    def start(self, command: Sequence[str], ready: Callable[[], bool], timeout_s: float) -> None:
        """Start it, or leave it running; returns once it is ready. Raises SetupError with what to do."""
        if self._find() is not None:
            return
        self.refuse_taken_ports()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                list(command),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        created_s = psutil.Process(self._process.pid).create_time()
        self._noted.write_bytes(msgspec.json.encode(_Running(self._process.pid, created_s)))
        self._await(self._process, ready, timeout_s)

    def refuse_taken_ports(self) -> None:
        """SetupError where somebody else listens already."""
        for port in self._ports:
            if answers(port):
                raise SetupError(
                    f"{self.name}: port {port} of 127.0.0.1 is taken by another process; end that, or choose another port"
                )

    def stop(self, timeout_s: float = 15.0) -> bool:
        """End it orderly, then by force; True if it was running."""
        return self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> bool:
        """SIGKILL it; True if it was running."""
        return self._end(signal.SIGKILL, 5.0)

    @property
    def _log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def _noted(self) -> Path:
        return self.folder / "pid"

    def _await(self, process: "subprocess.Popen[bytes]", ready: Callable[[], bool], timeout_s: float) -> None:
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            if process.poll() is not None:
                said = self._log.read_text("utf-8", "replace")[-LOG_TAIL:].strip()
                raise SetupError(f"{self.name} ended with {process.returncode} while starting: {said}")
            if ready():
                return
            time.sleep(POLL_S)
        self.kill()
        raise SetupError(f"{self.name} wasn't ready after {timeout_s:.0f} s; its log is {self._log}")

    def _find(self) -> psutil.Process | None:
        try:
            noted = msgspec.json.decode(self._noted.read_bytes(), type=_Running)
            process = psutil.Process(noted.pid)
            same = abs(process.create_time() - noted.created_s) < 0.05 and process.status() != psutil.STATUS_ZOMBIE
        except (FileNotFoundError, msgspec.DecodeError, psutil.NoSuchProcess):
            return None
        return process if same else None

    def _end(self, how: signal.Signals, timeout_s: float) -> bool:
        process = self._find()
        if process is None:
            return False
        process.send_signal(how)
        if how is signal.SIGTERM:
            process.send_signal(signal.SIGCONT)  # a stopped one would never get to it
        try:
            self._reap(process, timeout_s)
        except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
            process.kill()
            self._reap(process, timeout_s)
        self._noted.unlink(missing_ok=True)
        return True

    def _reap(self, process: psutil.Process, timeout_s: float) -> None:
        if self._process is not None and self._process.pid == process.pid:
            self._process.wait(timeout_s)
            return
        end_s = time.monotonic() + timeout_s
        while not _ended(process):  # whose child it is may never ask how it ended
            if time.monotonic() > end_s:
                raise psutil.TimeoutExpired(timeout_s, process.pid)
            time.sleep(POLL_S)


def _ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def answers(port: int) -> bool:
    """Whether somebody listens on that port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
