"""This module alone reads /proc to see whether a process that we know is still alive.

A pid may be given to another process later. So we note each process by its pid and the clock ticks (since boot) at
which it started; the pair names one process for ever.
"""

import contextlib
import os
import signal
from pathlib import Path

_PROC = Path("/proc")


def started_ticks(pid: int) -> int | None:
    """Return when a living process started, in clock ticks since boot; None if it is gone (a zombie is gone)."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def lives(pid: int, ticks: int) -> bool:
    """Return whether the process with this pid that started at these ticks is still alive."""
    return started_ticks(pid) == ticks


def created_s(ticks: int) -> float:
    """Return the Unix time of a start at these clock ticks. It moves when the machine's clock is set."""
    lines = (_PROC / "stat").read_text(encoding="ascii").splitlines()
    boot_s = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
    return boot_s + ticks / os.sysconf("SC_CLK_TCK")


def is_stopped(pid: int) -> bool:
    """Return whether a process is stopped by a signal or a tracer."""
    return (_stat(pid) or ["-"])[0] in "Tt"


def session(leader: int) -> list[int]:
    """Return the pids of the living processes in the session that ``leader`` began."""
    pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    return [
        pid for pid in pids if (fields := _stat(pid)) is not None and fields[0] not in "ZX" and int(fields[3]) == leader
    ]


def end_session(leader: int) -> None:
    """Send SIGKILL to every living process of a session that we started."""
    for pid in session(leader):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on (proc(5)); None if there is no such process."""
    try:
        return (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
