"""The spools of this node as the meter's log. One that can't be read is left for a while, and keeps it from no other."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from calmops.foundation.clock import Clock
from calmops.telemetry.log.spool import Spool, spool_files
from calmops.telemetry.metering.meter_store import Positions

AGAIN_NS = 5 * 10**9  # after which a spool that couldn't be read is tried again


class SpoolSource:
    """Reads every spool file of this node. A position's name is its gateway id, the position a seq."""

    def __init__(self, folder: Path, clock: Clock, failed: Callable[[], None]) -> None:
        """``failed`` is called within the handler each time that a file couldn't be read or marked."""
        self._folder = folder
        self._clock = clock
        self._failed = failed
        self._spools: dict[str, Spool] = {}
        self._marked: Positions = {}
        self._left_ns: dict[str, int] = {}  # when a spool couldn't be read last, monotonic

    def read(self, positions: Positions, limit: int) -> list[tuple[str, int, bytes]]:
        """(position's name, position, body) of new records, in order per name. Raises OSError without the folder."""
        self._follow({path.stem: path for path in spool_files(self._folder)})
        rows: list[tuple[str, int, bytes]] = []
        for name in list(self._spools):
            try:
                read = self._spools[name].read(positions.get(name, 0), limit - len(rows))
            except sqlite3.Error:
                self._leave(name)
                continue
            rows += [(name, seq, body) for seq, body in read]
            if len(rows) >= limit:
                self._spools[name] = self._spools.pop(name)  # the next turn begins with the others
                break
        return rows

    def saved(self, positions: Positions) -> None:
        """The counts up to these positions are durable: the spools may let them go."""
        for name, spool in list(self._spools.items()):
            if positions.get(name, 0) <= self._marked.get(name, 0):
                continue
            try:
                spool.advance("meter", positions[name])
            except sqlite3.Error:
                self._leave(name)
            else:
                self._marked[name] = positions[name]

    def close(self) -> None:
        """Close every file."""
        for spool in self._spools.values():
            spool.close()

    def _follow(self, present: dict[str, Path]) -> None:
        """Open spools that came, close those that were deleted."""
        for name in self._spools.keys() - present.keys():
            self._spools.pop(name).close()
        for name in self._left_ns.keys() - present.keys():
            del self._left_ns[name]
        now_ns = self._clock.now_ns()
        for name in sorted(present.keys() - self._spools.keys()):
            if name in self._left_ns and now_ns - self._left_ns[name] < AGAIN_NS:
                continue
            try:
                self._spools[name] = Spool(present[name])
            except sqlite3.Error:
                self._leave(name)
            else:
                self._left_ns.pop(name, None)

    def _leave(self, name: str) -> None:
        self._failed()
        self._left_ns[name] = self._clock.now_ns()
        spool = self._spools.pop(name, None)
        if spool is not None:
            with suppress(sqlite3.Error):
                spool.close()
