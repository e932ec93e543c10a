"""Gives the meter the spools of this node as its log. Knows no Kafka and no gateway.

A spool that can't be read is set aside for a while and doesn't keep the meter from the others.
"""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from calmops.foundation.clock import Clock
from calmops.telemetry.log.positions import Positions
from calmops.telemetry.log.spool import Spool, spool_files

RETRY_NS = 5 * 10**9  # after which a spool that couldn't be read is tried again


class SpoolSource:
    """Reads every spool file of this node. A position's name is a gateway id, its value a seq."""

    def __init__(self, folder: Path, clock: Clock, on_failure: Callable[[], None]) -> None:
        """``on_failure`` is called inside the exception handler each time that a file couldn't be read or marked."""
        self._folder = folder
        self._clock = clock
        self._on_failure = on_failure
        self._spools: dict[str, Spool] = {}
        self._marked: Positions = {}
        self._failed_ns: dict[str, int] = {}  # when a spool last couldn't be read, monotonic

    def read(self, positions: Positions, limit: int) -> list[tuple[str, int, bytes]]:
        """Return (name, position, body) of new records, in order per name. Raises OSError if the folder is gone."""
        self._open_and_close({path.stem: path for path in spool_files(self._folder)})
        rows: list[tuple[str, int, bytes]] = []
        for name in list(self._spools):
            try:
                records = self._spools[name].read(positions.get(name, 0), limit - len(rows))
            except sqlite3.Error:
                self._set_aside(name)
                continue
            rows += [(name, seq, body) for seq, body in records]
            if len(rows) >= limit:
                self._spools[name] = self._spools.pop(name)  # the next call begins with the others
                break
        return rows

    def saved(self, positions: Positions) -> None:
        """Mark records up to these positions as counted durably, so that the spools may delete them."""
        for name, spool in list(self._spools.items()):
            if positions.get(name, 0) <= self._marked.get(name, 0):
                continue
            try:
                spool.advance("meter", positions[name])
            except sqlite3.Error:
                self._set_aside(name)
            else:
                self._marked[name] = positions[name]

    def close(self) -> None:
        """Close every file."""
        for spool in self._spools.values():
            spool.close()

    def _open_and_close(self, present: dict[str, Path]) -> None:
        """Open spools that are new, close those that were deleted."""
        for name in self._spools.keys() - present.keys():
            self._spools.pop(name).close()
        for name in self._failed_ns.keys() - present.keys():
            del self._failed_ns[name]
        now_ns = self._clock.now_ns()
        for name in sorted(present.keys() - self._spools.keys()):
            if name in self._failed_ns and now_ns - self._failed_ns[name] < RETRY_NS:
                continue
            try:
                self._spools[name] = Spool(present[name])
            except sqlite3.Error:
                self._set_aside(name)
            else:
                self._failed_ns.pop(name, None)

    def _set_aside(self, name: str) -> None:
        self._on_failure()
        self._failed_ns[name] = self._clock.now_ns()
        spool = self._spools.pop(name, None)
        if spool is not None:
            with suppress(sqlite3.Error):
                spool.close()
