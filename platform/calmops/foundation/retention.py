"""Files that ended processes left are kept within a size and an age; those of living processes are left alone."""

import fcntl
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from calmops.foundation import paths

_claimed: dict[Path, BinaryIO] = {}  # open files, which stay locked until this process ends


def claim(process: str) -> None:
    """Mark a process name as alive for as long as this process lives; several processes may bear one name."""
    path = _folder() / process
    if path not in _claimed:
        _claimed[path] = path.open("wb")
        fcntl.flock(_claimed[path], fcntl.LOCK_SH)


def lives(process: str) -> bool:
    """Return whether a process that claimed the name is still running."""
    path = _folder() / process
    if path in _claimed:
        return True
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    path.unlink(missing_ok=True)
    return False


def forget(
    files: Iterable[Path], process_of: Callable[[Path], str], most_bytes: int, most_age_s: float | None = None
) -> None:
    """Delete files of ended processes: the oldest, until the rest fit into ``most_bytes``, and those that are too old.

    A file's age counts from when it was last written to.
    """
    facts = []
    for file in files:
        try:
            stat = file.stat()
        except FileNotFoundError:
            continue  # another process was quicker
        facts.append((stat.st_mtime, stat.st_size, file))
    total, now_s = 0, time.time()
    for written_s, size, file in sorted(facts, reverse=True):
        if lives(process_of(file)):
            continue
        total += size
        if total > most_bytes or (most_age_s is not None and now_s - written_s > most_age_s):
            file.unlink(missing_ok=True)


def _folder() -> Path:
    folder = paths.folder("state") / "alive"
    folder.mkdir(exist_ok=True, mode=0o700)
    return folder
