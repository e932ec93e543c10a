"""Read the table of the names that proofs had before: tests/proofs/renamed.md."""

import re

OLD_NAME = re.compile(r"[a-z]+(_[a-z]+)*-\d+-[a-z0-9_-]+")


def read_old_names(table: str) -> dict[str, str]:
    """Return the new name of each old one. The table's columns are: old name, new name, what it shows."""
    rows = (line.strip().strip("|").split("|") for line in table.splitlines() if line.startswith("|"))
    cells = ([cell.strip() for cell in row] for row in rows)
    return {row[0]: row[1] for row in cells if OLD_NAME.fullmatch(row[0])}
