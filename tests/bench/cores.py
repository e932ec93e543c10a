"""Which core runs what: the engine on the first, everything else on the second, or all of it anywhere."""

import os
from collections.abc import Iterable
from pathlib import Path

import psutil

ALL = tuple(sorted(os.sched_getaffinity(0)))
ENGINE, REST = ALL[:1], ALL[1:2] or ALL[:1]


def pin(pids: Iterable[int], cores: Iterable[int]) -> None:
    """Keep every thread of those processes on those cores; threads that they start later inherit it."""
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*"):
            try:
                os.sched_setaffinity(int(task.name), cores)
            except ProcessLookupError:
                continue  # a thread that has ended meanwhile


def pin_self(cores: Iterable[int]) -> None:
    """The same for this process."""
    pin([os.getpid()], cores)


def platform_pids(home: str) -> set[int]:
    """Processes of the platform whose state folder that is: those started with it in their environment, and theirs.

    Ray's workers overwrite their environment with their titles, but the raylet that started them doesn't.
    """
    found: set[int] = set()
    for process in psutil.process_iter():
        try:
            if process.environ().get("CALMOPS_HOME") == home:
                found |= {process.pid, *(child.pid for child in process.children(recursive=True))}
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found - {os.getpid()}
