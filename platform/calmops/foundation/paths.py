"""Where calmops keeps what outlives a process: one stated folder, never the checkout.

``$CALMOPS_HOME`` or ``~/.calmops``: ``state/`` (spool, meter), ``logs/``, ``build/`` (compiled parts),
``tools/`` (what ``calmops setup`` downloaded), ``run/`` (what ``calmops up`` has running).
"""

import os
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  where ranks of one machine meet
_FORMERLY = {
    "tools": "parts"
}  # folders of a state folder that version 0.1 wrote: renamed at first use, for one release


def home() -> Path:
    """The state folder. Nothing is created here."""
    given = os.environ.get("CALMOPS_HOME")
    return Path(given).expanduser() if given else Path.home() / ".calmops"


def folder(name: str) -> Path:
    """A folder inside home(), made private (0700) if it isn't there."""
    path = home() / name
    if name in _FORMERLY and not path.exists() and (home() / _FORMERLY[name]).is_dir():
        (home() / _FORMERLY[name]).rename(path)
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path
