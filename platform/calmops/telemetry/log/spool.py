"""The spool: a SQLite file (WAL) a gateway, durable and in order. Knows no ring, no Kafka and no meter; serves all three."""

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
    """The right to write one spool file: an flock that dies with its process."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_suffix(".lock")
        self._fd: int | None = None

    def acquire(self) -> bool:
        """True if the lease is ours now; False if a living process holds it, or just removed the spool."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine, named = os.fstat(fd), self._path.stat()
        except (BlockingIOError, FileNotFoundError):
            os.close(fd)
            return False
        if mine.st_ino != named.st_ino:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def release(self) -> None:
        """Give the lease back. Harmless if it isn't held."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class Spool:
    """One spool file. Appending needs the lease; reading and marking don't. One object a thread."""

    def __init__(self, path: Path) -> None:
        """Raises sqlite3.Error on a file that isn't a spool."""
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
        """Of all records kept. For the file's writer, who alone keeps the figure up to date; read once, on first use."""
        if self._size_bytes is None:
            query = "SELECT coalesce(sum(length(body)), 0) FROM records"
            self._size_bytes = int(self._db.execute(query).fetchone()[0])
        return self._size_bytes

    def append(self, records: Sequence[Record], now_ns: int) -> int:
        """Append in order with gapless seq, in one transaction; the last seq. Raises sqlite3.Error, then nothing is kept."""
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
        """(seq, body) of the oldest records above ``after_seq``, at most ``limit``, in order."""
        query = "SELECT seq, body FROM records WHERE seq > ? ORDER BY seq LIMIT ?"
        return self._db.execute(query, (after_seq, limit)).fetchall()

    def mark(self, name: str) -> int:
        """How far a reader ("meter", "kafka") has durably taken the records; 0 if it never did."""
        row = self._db.execute("SELECT seq FROM marks WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def advance(self, name: str, seq: int) -> None:
        """Note that a reader has durably taken everything up to ``seq``."""
        self._set_mark(name, seq)

    def orphans(self) -> list[Opened]:
        """Opening records without a closing one, oldest first. Raises RecordError on one of another schema."""
        rows = self._db.execute("SELECT body FROM open_requests ORDER BY seq").fetchall()
        records = [codec.decode(body).record for (body,) in rows]
        return [record for record in records if isinstance(record, Opened)]

    def prune(self, reader: str, before_ns: int, keep_bytes: int) -> int:
        """Delete what ``reader`` has taken and is older than ``before_ns`` or beyond ``keep_bytes``; rows deleted."""
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

    def spent(self) -> bool:
        """True if nothing is kept and no request is open: the file may go."""
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
    """Delete a spent spool's files. The caller holds its lease, and releases it after."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm", path.with_suffix(".lock").name):
        (path.parent / name).unlink(missing_ok=True)


def spool_path(folder: Path, gateway_id: str) -> Path:
    """The spool file of a gateway. Its id must be a plain file name."""
    assert gateway_id and "/" not in gateway_id and "." not in gateway_id, f"not a file name: {gateway_id!r}"
    return folder / f"{gateway_id}.db"


def spool_files(folder: Path) -> list[Path]:
    """Every spool file of this node, in the order of their names."""
    return sorted(folder.glob("*.db"))
