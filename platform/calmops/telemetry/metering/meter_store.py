"""Keeps the meter's one file: counts and log positions, saved in one transaction, under a lease.

Knows no record and no log.
"""

import sqlite3
from pathlib import Path

import msgspec

from calmops.foundation.errors import SetupError
from calmops.telemetry.log.positions import Positions
from calmops.telemetry.log.spool import SpoolLease
from calmops.telemetry.metering import counts as counting
from calmops.telemetry.metering.counts import Counts

_TABLES = """
CREATE TABLE IF NOT EXISTS state (id INTEGER PRIMARY KEY CHECK (id = 1), body BLOB NOT NULL, saved_ns INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS positions (name TEXT PRIMARY KEY, position INTEGER NOT NULL);
"""


class MeterStore:
    """Saves and loads the state of the one active meter. Raises SetupError if another meter holds the lease."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lease = SpoolLease(path)
        if not self._lease.acquire():
            raise SetupError(f"another meter is active: {path} is locked; stop it first")
        self._db = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_TABLES)

    def load(self) -> tuple[Counts, Positions] | None:
        """Return what was saved last; None if nothing was, or if another release wrote what this one can't read.

        Then counting starts at the earliest retained record.
        """
        row = self._db.execute("SELECT body FROM state").fetchone()
        try:
            counts = counting.load(row[0]) if row is not None else None
        except msgspec.DecodeError:
            counts = None
        if counts is None:
            return None
        return counts, dict(self._db.execute("SELECT name, position FROM positions").fetchall())

    def save(self, counts: Counts, positions: Positions, now_ns: int) -> None:
        """Save counts and positions together; neither if anything fails."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.execute("INSERT OR REPLACE INTO state VALUES (1, ?, ?)", (counting.dump(counts), now_ns))
            self._db.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?)", positions.items())
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the file and give up the lease."""
        self._db.close()
        self._lease.release()
