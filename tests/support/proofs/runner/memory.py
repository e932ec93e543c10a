"""Remember, outside the checkout, which short forms were left out and how long each took.

The file is in the user's state folder (``$CALMOPS_HOME/state`` or ``~/.calmops/state``), so that a fresh clone on the
same machine goes on where the last one stopped. Without it, or if it can't be read, nothing is remembered.
"""

import json
from collections.abc import Iterable
from pathlib import Path


class Memory:
    """Owns the file. Every change is written at once: an interrupted run loses nothing."""

    def __init__(self, file: Path) -> None:
        """Read ``file`` if it is there."""
        self._file = file
        self.left_out: list[str] = []  # names, until each has run; what was left out first comes first
        self.seconds: dict[str, float] = {}  # of the newest run of each
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            self.left_out = [str(name) for name in kept["left_out"]]
            self.seconds = {str(name): float(seconds) for name, seconds in kept["seconds"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.left_out, self.seconds = [], {}

    def intend(self, names: Iterable[str], known: Iterable[str]) -> None:
        """Remember these as left out until they have run; forget names that no proof bears any more."""
        kept = set(known)
        self.left_out = [name for name in dict.fromkeys([*self.left_out, *names]) if name in kept]
        self._save()

    def has_run(self, name: str, seconds: float) -> None:
        """Remember that this one has run, and how long it took; 0 s if it didn't come to start."""
        self.left_out = [other for other in self.left_out if other != name]
        if seconds:
            self.seconds[name] = round(seconds, 1)
        self._save()

    def _save(self) -> None:
        written = self._file.with_suffix(".new")
        written.write_text(json.dumps({"left_out": self.left_out, "seconds": self.seconds}, indent=1), encoding="utf-8")
        written.replace(self._file)
