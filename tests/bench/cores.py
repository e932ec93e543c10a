"""Pins processes to cores: the engine to the first, everything else to the second, or all of them to any."""

import os
from collections.abc import Iterable
from pathlib import Path

import psutil

ALL = tuple(sorted(os.sched_getaffinity(0)))
ENGINE, REST = ALL[:1], ALL[1:2] or ALL[:1]


def pin(pids: Iterable[int], cores: Iterable[int]) -> None:
    """Keep every thread of the processes ``pids`` on ``cores``; threads that they start later inherit it."""
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*"):
            try:
                os.sched_setaffinity(int(task.name), cores)
            except ProcessLookupError:
                continue  # a thread that has ended meanwhile


def pin_self(cores: Iterable[int]) -> None:
    """Keep every thread of this process on ``cores``."""
    pin([os.getpid()], cores)


def platform_pids(home: str) -> set[int]:
    """Return the processes of the platform whose state folder is ``home``: by their environment, and their children.

    Ray's workers overwrite their environment with their titles, but the raylet that started them doesn't.
    """
    pids: set[int] = set()
    for process in psutil.process_iter():
        try:
            if process.environ().get("CALMOPS_HOME") == home:
                pids |= {process.pid, *(child.pid for child in process.children(recursive=True))}
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return pids - {os.getpid()}
