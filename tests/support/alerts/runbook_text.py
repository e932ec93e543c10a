"""Runbooks as what can be typed: their commands with the exit codes they promise, and their queries."""

import re
from pathlib import Path
from typing import NamedTuple

from alerts.generate import SHIPPED

RUNBOOKS = SHIPPED.parent / "runbooks"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXIT = re.compile(r"^# exit (\d)$")


class Command(NamedTuple):
    """One line to type, with REPLICA, MODEL and REQUEST still in capitals, and how it exits."""

    line: str
    exit_code: int


def runbooks() -> list[Path]:
    """One an alert, by name."""
    return sorted(path for path in RUNBOOKS.glob("*.md") if path.name[0].isupper() and path.name != "README.md")


def commands(path: Path) -> list[Command]:
    """Those of one runbook, in order. AssertionError if a block isn't a command and its exit code in turn."""
    found = []
    for block in _blocks(path, "console"):
        lines = block.splitlines()
        assert len(lines) % 2 == 0, f"{path.name}: a command without its exit code:\n{block}"
        for line, comment in zip(lines[::2], lines[1::2], strict=True):
            said = EXIT.match(comment)
            assert line.startswith("$ ") and said is not None, (
                f"{path.name}: not a command and its exit code: {line!r}, {comment!r}"
            )
            found.append(Command(line[2:], int(said[1])))
    return found


def queries(path: Path) -> list[str]:
    """PromQL, one expression a line."""
    return [line for block in _blocks(path, "promql") for line in block.splitlines() if line]


def _blocks(path: Path, kind: str) -> list[str]:
    return [text for found, text in BLOCK.findall(path.read_text(encoding="utf-8")) if found == kind]
