"""Keeps each gateway's records durably and in order in one SQLite file (WAL), the spool.

The writer fills it from the ring; the forwarder to Kafka and the meter read it. Knows none of the three.
"""

import fcntl
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from calmops.messages.record import Closed, Opened, Record
from calmops.telemetry.log import codec

_TABLES = """
CREATE TABLE IF NOT EXISTS records (seq INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS open_requests (request_id TEXT PRIMARY KEY, seq INTEGER NOT NULL, body BLOB NOT NULL);
"""


class SpoolLease:
    """Grants the right to write one spool file: an flock that ends with its process."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_suffix(".lock")
        self._fd: int | None = None

    def acquire(self) -> bool:
        """Return True if the lease is held now, False if a living process holds it or has just removed the spool."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked, named = os.fstat(fd), self._path.stat()
        except (BlockingIOError, FileNotFoundError):
            os.close(fd)
            return False
        # Another process removed the spool meanwhile: the lock is on a file that no longer has this name.
        if locked.st_ino != named.st_ino:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def release(self) -> None:
        """Release the lease, if it is held."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class Spool:
    """Reads and writes one spool file. Appending needs the lease; reading and marking don't. One object per thread."""

    def __init__(self, path: Path) -> None:
        """Open the file at ``path``. Raises sqlite3.Error on a file that isn't a spool."""
        self.path = path
        self.source = path.stem
        self._db = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_TABLES)
            self.last_seq = self.mark("written")
        except sqlite3.Error:
            self._db.close()
            raise
        self._size_bytes: int | None = None

    @property
    def size_bytes(self) -> int:
        """Return the size of all records kept. Only the file's writer has it up to date; it is queried on first use."""
        if self._size_bytes is None:
            query = "SELECT coalesce(sum(length(body)), 0) FROM records"
            self._size_bytes = int(self._db.execute(query).fetchone()[0])
        return self._size_bytes

    def append(self, records: Sequence[Record], now_ns: int) -> int:
        """Append ``records`` in order with gapless seq, in one transaction, and return the last seq.

        Raises sqlite3.Error, and then nothing is kept.
        """
        seq, added, rows, size_bytes = self.last_seq, 0, [], self.size_bytes
        opened: list[tuple[str, int, bytes]] = []
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for record in records:
                seq += 1
                body = codec.encode(self.source, seq, record)
                added += len(body)
                rows.append((seq, now_ns, body))
                if isinstance(record, Opened):
                    opened.append((record.request_id, seq, body))
            self._db.executemany("INSERT INTO records VALUES (?, ?, ?)", rows)
            self._db.executemany("INSERT OR REPLACE INTO open_requests VALUES (?, ?, ?)", opened)
            closed = [(r.request_id,) for r in records if isinstance(r, Closed)]
            self._db.executemany("DELETE FROM open_requests WHERE request_id = ?", closed)
            self._set_mark("written", seq)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self.last_seq = seq
        self._size_bytes = size_bytes + added
        return seq

    def read(self, after_seq: int, limit: int) -> list[tuple[int, bytes]]:
        """Return (seq, body) of the oldest records above ``after_seq``, at most ``limit``, in order."""
        query = "SELECT seq, body FROM records WHERE seq > ? ORDER BY seq LIMIT ?"
        return self._db.execute(query, (after_seq, limit)).fetchall()

    def mark(self, name: str) -> int:
        """Return the seq up to which a reader ("meter", "kafka") has durably taken the records; 0 if it never did."""
        row = self._db.execute("SELECT seq FROM marks WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def advance(self, name: str, seq: int) -> None:
        """Record that a reader has durably taken everything up to ``seq``."""
        self._set_mark(name, seq)

    def orphans(self) -> list[Opened]:
        """Return the opening records without a closing one, oldest first. Raises RecordError on another schema."""
        rows = self._db.execute("SELECT body FROM open_requests ORDER BY seq").fetchall()
        records = [codec.decode(body).record for (body,) in rows]
        return [record for record in records if isinstance(record, Opened)]

    def prune(self, reader: str, before_ns: int, keep_bytes: int) -> int:
        """Delete records that ``reader`` has taken and that are older than ``before_ns`` or beyond ``keep_bytes``.

        Returns the number of records deleted.
        """
        taken, deleted = self.mark(reader), 0
        query = "SELECT seq, at_ns, length(body) FROM records WHERE seq <= ? ORDER BY seq LIMIT 5000"
        last, freed = 0, 0
        for seq, at_ns, size in self._db.execute(query, (taken,)).fetchall():
            if at_ns >= before_ns and self.size_bytes - freed <= keep_bytes:
                break
            last, freed, deleted = seq, freed + size, deleted + 1
        if deleted:
            self._db.execute("DELETE FROM records WHERE seq <= ?", (last,))
            self._size_bytes = self.size_bytes - freed
        return deleted

    def is_empty(self) -> bool:
        """Return True if no record is kept and no request is open, so that the file may be deleted."""
        query = "SELECT EXISTS (SELECT 1 FROM records) OR EXISTS (SELECT 1 FROM open_requests)"
        return not self._db.execute(query).fetchone()[0]

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _set_mark(self, name: str, seq: int) -> None:
        self._db.execute(
            "INSERT INTO marks VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET seq = max(seq, excluded.seq)", (name, seq)
        )


def remove_spool(path: Path) -> None:
    """Delete the files of an empty spool. The caller holds its lease, and releases it afterwards."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm", path.with_suffix(".lock").name):
        (path.parent / name).unlink(missing_ok=True)


def spool_path(folder: Path, gateway_id: str) -> Path:
    """Return the path of a gateway's spool file. The id must be a plain file name."""
    assert gateway_id and "/" not in gateway_id and "." not in gateway_id, f"not a file name: {gateway_id!r}"
    return folder / f"{gateway_id}.db"


def spool_files(folder: Path) -> list[Path]:
    """Return every spool file of this node, in the order of their names."""
    return sorted(folder.glob("*.db"))
