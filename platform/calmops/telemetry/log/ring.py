"""Queues records between the gateway's event loop and the spool; never blocks, never grows, and counts its drops.

The event loop puts records in, the writer's thread takes them out. Knows no file.
"""

import threading
from collections import deque
from collections.abc import Callable

from calmops.messages.record import Closed, FrameRecord, Opened, Record

OnCommit = Callable[[bool], None]
Entry = tuple[Record, OnCommit | None]


def tokens_of(record: Record) -> int:
    """Return the number of newly journaled tokens that ``record`` reports."""
    return sum(s.tokens for s in record.sequences) if isinstance(record, FrameRecord) else 0


class Ring:
    """Holds at most ``capacity`` records; the last ``reserved`` places take only Opened and Closed."""

    def __init__(self, capacity: int, reserved: int) -> None:
        assert 0 <= reserved < capacity, f"reserved {reserved} must be below capacity {capacity}"
        self._capacity = capacity
        self._ordinary = capacity - reserved
        self._entries: deque[Entry] = deque()
        self._drops: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()
        self.dropped: dict[str, int] = {}  # records by reason, since the start

    def put(self, record: Record, on_commit: OnCommit | None = None) -> bool:
        """Take the record and return True, or count it as dropped (``ring_full``) and return False. O(1)."""
        limit = self._capacity if isinstance(record, Opened | Closed) else self._ordinary
        with self._lock:
            if len(self._entries) < limit:
                self._entries.append((record, on_commit))
                return True
        self.count_drop("ring_full", record)
        return False

    def count_drop(self, reason: str, record: Record) -> None:
        """Count a record that will not reach the spool."""
        tokens = tokens_of(record)
        with self._lock:
            records_before, tokens_before = self._drops.get(reason, (0, 0))
            self._drops[reason] = (records_before + 1, tokens_before + tokens)
            self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def take(self, limit: int) -> list[Entry]:
        """Remove and return the oldest entries, at most ``limit``, in order."""
        with self._lock:
            entries = self._entries
            return [entries.popleft() for _ in range(min(limit, len(entries)))]

    def take_drops(self) -> dict[str, tuple[int, int]]:
        """Return the drops since the last call: reason -> (records, tokens)."""
        with self._lock:
            drops, self._drops = self._drops, {}
            return drops

    def restore_drops(self, drops: dict[str, tuple[int, int]]) -> None:
        """Put back drops whose Dropped record could not be written."""
        with self._lock:
            for reason, (records, tokens) in drops.items():
                records_before, tokens_before = self._drops.get(reason, (0, 0))
                self._drops[reason] = (records_before + records, tokens_before + tokens)

    def __len__(self) -> int:
        return len(self._entries)
