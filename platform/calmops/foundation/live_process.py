"""Whether a process that we know still lives: the one place that reads /proc for it.

A pid alone may have been given to another process since. So each process that we note is noted with the clock ticks
(since boot) at which it started; the pair names one process for ever.
"""

import contextlib
import os
import signal
from pathlib import Path

_PROC = Path("/proc")


def started_ticks(pid: int) -> int | None:
    """Start time of a living process, in clock ticks since boot; None if it is gone (a zombie is gone)."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def lives(pid: int, ticks: int) -> bool:
    """Whether the process lives that had this pid and started at these ticks."""
    return started_ticks(pid) == ticks


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal or a tracer."""
    return (_stat(pid) or ["-"])[0] in "Tt"


def session(leader: int) -> list[int]:
    """Living processes of the session that ``leader`` began."""
    pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    return [
        pid for pid in pids if (fields := _stat(pid)) is not None and fields[0] not in "ZX" and int(fields[3]) == leader
    ]


def end_session(leader: int) -> None:
    """Send SIGKILL to what is left of a session that we started."""
    for pid in session(leader):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on (proc(5)); None if there is no such process."""
    try:
        return (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
