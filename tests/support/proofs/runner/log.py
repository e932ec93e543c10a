"""Read and write tests/proofs/LOG.md, which holds the result of every long form; lines are only ever added.

An entry under a name that a proof had before counts for the proof that has taken its place.
"""

import datetime as dt
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

HEAD = (
    "# Proofs, long forms\n\nAppended by `make prove-long`; failures are kept.\n\n"
    "| date (UTC) | proof | holds | machine | commit | seconds | figure |\n|---|---|---|---|---|---|---|\n"
)
COLUMNS = HEAD.count(" |")


class Entry(NamedTuple):
    """One line of the log: how one long form ended."""

    date: str
    proof: str
    holds: bool
    machine: str
    commit: str
    seconds: float
    figure: str


def read_entries(log: str, old_names: Mapping[str, str]) -> list[Entry]:
    """Return every entry, oldest first, under the names that proofs have now. ValueError if a line is no entry."""
    rows = [split_row(line) for line in log.splitlines() if line.startswith("|")][2:]
    return [entry_of(row, old_names) for row in rows]


def entry_of(row: list[str], old_names: Mapping[str, str]) -> Entry:
    """Return the entry that stands in a row."""
    if len(row) != COLUMNS:
        raise ValueError(f"LOG.md: {len(row)} cells instead of {COLUMNS}: {' | '.join(row)[:200]}")
    date, proof, holds, machine_name, commit, seconds, figure = row
    return Entry(date, old_names.get(proof, proof), holds == "yes", machine_name, commit, float(seconds), figure)


def newest(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Return the newest entry of each proof."""
    return {entry.proof: entry for entry in entries}


def append(log: Path, entry: Entry) -> None:
    """Add one line, at once, so that an interrupted run loses nothing."""
    if not log.exists():
        log.write_text(HEAD, encoding="utf-8")
    cells = (
        *(entry.date, entry.proof, "yes" if entry.holds else "NO"),
        *(entry.machine, entry.commit, f"{entry.seconds:.0f}", entry.figure),
    )
    with log.open("a", encoding="utf-8") as file:
        file.write("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")


def split_row(line: str) -> list[str]:
    """Return the cells of one row of a table; ``\\|`` stands for a bar inside a cell."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def now() -> str:
    """Return the current time as the log writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M")


def machine() -> str:
    """Return this machine's processor and how many of its cores this process may use."""
    models = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return f"{models[0] if models else 'unknown processor'}, {len(os.sched_getaffinity(0))} cores"
