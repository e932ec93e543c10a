"""Reads what can be typed from runbooks: commands with the exit codes that they promise, and queries."""

import re
from pathlib import Path
from typing import NamedTuple

from alerts.generate import SHIPPED

RUNBOOKS = SHIPPED.parent / "runbooks"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXIT = re.compile(r"^# exit (\d)$")


class Command(NamedTuple):
    """Holds one line to type, with REPLICA, MODEL and REQUEST still in capitals, and its exit code."""

    line: str
    exit_code: int


def runbooks() -> list[Path]:
    """Return the runbooks, one per alert, by name."""
    return sorted(path for path in RUNBOOKS.glob("*.md") if path.name[0].isupper() and path.name != "README.md")


def commands(path: Path) -> list[Command]:
    """Return one runbook's commands, in order.

    Raises AssertionError if a block doesn't alternate commands and exit codes.
    """
    entries = []
    for block in _blocks(path, "console"):
        lines = block.splitlines()
        assert len(lines) % 2 == 0, f"{path.name}: a command without its exit code:\n{block}"
        for line, comment in zip(lines[::2], lines[1::2], strict=True):
            exit_code = EXIT.match(comment)
            assert line.startswith("$ ") and exit_code is not None, (
                f"{path.name}: not a command and its exit code: {line!r}, {comment!r}"
            )
            entries.append(Command(line[2:], int(exit_code[1])))
    return entries


def queries(path: Path) -> list[str]:
    """Return one runbook's PromQL, one expression per line."""
    return [line for block in _blocks(path, "promql") for line in block.splitlines() if line]


def _blocks(path: Path, kind: str) -> list[str]:
    return [text for label, text in BLOCK.findall(path.read_text(encoding="utf-8")) if label == kind]
