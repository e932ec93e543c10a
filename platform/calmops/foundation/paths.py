"""Calmops keeps what outlives a process in one folder, never in the checkout.

The folder is ``$CALMOPS_HOME`` or ``~/.calmops``. It holds ``state/`` (spool, meter), ``logs/``, ``build/`` (compiled
parts), ``tools/`` (what ``calmops setup`` downloaded) and ``run/`` (what ``calmops up`` has running).
"""

import os
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  where ranks of one machine meet
# Folders that version 0.1 wrote under another name: they are renamed at first use, for one release.
_FORMERLY = {"tools": "parts"}


def home() -> Path:
    """Return the state folder; creates nothing."""
    given = os.environ.get("CALMOPS_HOME")
    return Path(given).expanduser() if given else Path.home() / ".calmops"


def folder(name: str) -> Path:
    """Return a folder inside home(); makes it, private (0700), if it isn't there."""
    path = home() / name
    if name in _FORMERLY and not path.exists() and (home() / _FORMERLY[name]).is_dir():
        (home() / _FORMERLY[name]).rename(path)
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path
