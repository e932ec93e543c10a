"""The meter: reads the log in batches, folds, saves, shows. One is active. Knows no gateway and no replica."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from calmops.foundation import paths
from calmops.foundation.clock import Clock, SystemClock
from calmops.messages.record import Record
from calmops.telemetry import codec
from calmops.telemetry.counts import Counts
from calmops.telemetry.exposition import exposition
from calmops.telemetry.fold import fold, skip_to
from calmops.telemetry.log_errors import LogUnavailable
from calmops.telemetry.meter_store import MeterStore, Positions
from calmops.telemetry.settings import TelemetrySettings
from calmops.telemetry.spool import Spool, spool_files

T = TypeVar("T")
BATCH_RECORDS = 5000
IDLE_S = 0.1


class RecordSource(Protocol):
    """Where envelopes come from."""

    def read(self, positions: Positions, limit: int) -> list[tuple[str, int, bytes]]:
        """(position's name, position, body) of new records, in order per name; empty when there are none."""
        ...

    def saved(self, positions: Positions) -> None:
        """The counts up to these positions are durable."""
        ...

    def close(self) -> None: ...


class SpoolSource:
    """Reads every spool file of this node. A position's name is its gateway id, the position a seq."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spools: dict[str, Spool] = {}
        self._marked: Positions = {}

    def read(self, positions: Positions, limit: int) -> list[tuple[str, int, bytes]]:
        self._follow(spool_files(self._folder))
        rows: list[tuple[str, int, bytes]] = []
        for name in list(self._spools):
            spool = self._spools[name]
            rows += [(name, seq, body) for seq, body in spool.read(positions.get(name, 0), limit - len(rows))]
            if len(rows) >= limit:
                self._spools[name] = self._spools.pop(name)  # the next turn begins with the others
                break
        return rows

    def saved(self, positions: Positions) -> None:
        for name, spool in self._spools.items():
            if positions.get(name, 0) > self._marked.get(name, 0):
                spool.advance("meter", positions[name])
                self._marked[name] = positions[name]

    def close(self) -> None:
        for spool in self._spools.values():
            spool.close()

    def _follow(self, paths: list[Path]) -> None:
        """Open spools that came, close those that were deleted."""
        present = {path.stem: path for path in paths}
        for name in self._spools.keys() - present.keys():
            self._spools.pop(name).close()
        for name in present.keys() - self._spools.keys():
            self._spools[name] = Spool(present[name])


class Meter:
    """Folds the log on a thread of its own; ``exposition`` may be called from any thread."""

    def __init__(
        self, settings: TelemetrySettings, state: Path | None = None, clock: Clock | None = None, see: Callable[[Record], None] | None = None
    ) -> None:
        """``see`` is given each record once it is counted, in the log's order, on the meter's thread; it must not raise."""
        self._settings = settings
        self._see = see
        self._clock = clock or SystemClock()
        self._store = MeterStore(state or paths.folder("state") / "meter.db")
        saved = self._store.load()
        self.rebuilt = saved is None
        self._counts, self._positions = saved or (Counts(since_ns=0), {})
        self._source: RecordSource | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)
        self.read_failures = 0

    def start(self) -> None:
        """Begin to fold."""
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Save and give up the lease."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        if self._source is not None:
            self._source.close()
        self._store.close()

    def exposition(self) -> bytes:
        """All counts in Prometheus' text format."""
        with self._lock:
            return exposition(self._counts)

    def look(self, reading: Callable[[Counts], T]) -> T:
        """What ``reading`` makes of the counts, which stand still meanwhile."""
        with self._lock:
            return reading(self._counts)

    def statement(self) -> str:
        """From when the counts speak."""
        since_s = self._counts.since_ns / 1e9
        how = "rebuilt from the earliest retained record" if self.rebuilt else "continued from saved state"
        return f"counting since {since_s:.3f} (Unix time, s), {how}"

    def advance(self) -> int:
        """Read, fold and save one batch; how many records it held."""
        if self._source is None:
            self._source = _source(self._settings)
        rows = self._source.read(self._positions, BATCH_RECORDS)
        if not rows:
            return 0
        with self._lock:
            for name, position, body in rows:
                self._fold(name, position, body)
        self._store.save(self._counts, self._positions, self._clock.wall_ns())
        self._source.saved(self._positions)
        return len(rows)

    def _fold(self, name: str, position: int, body: bytes) -> None:
        try:
            envelope = codec.decode(body)
        except codec.RecordError:
            self._counts.unreadable += 1
        else:
            first_of_source = self.rebuilt and envelope.source not in self._counts.sources
            if self._settings.kafka is None or first_of_source:
                skip_to(self._counts, envelope.source, envelope.seq - 1)
            folded = self._counts.folded
            fold(self._counts, envelope)
            if self._see is not None and self._counts.folded > folded:
                self._see(envelope.record)
        self._positions[name] = position

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                read = self.advance()
            except (sqlite3.Error, OSError, LogUnavailable):
                self.read_failures += 1
                read = 0
            if read == 0:
                self._stopping.wait(IDLE_S)


def _source(settings: TelemetrySettings) -> RecordSource:
    if settings.kafka is None:
        return SpoolSource(settings.spool_folder())
    from calmops.telemetry.kafka_log import KafkaSource

    return KafkaSource(settings.kafka)
