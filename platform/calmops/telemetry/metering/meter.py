"""The meter reads the log in batches, folds it and saves the counts. One is active. Knows no gateway and no replica."""

import logging
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from calmops.foundation import paths
from calmops.foundation.clock import Clock, SystemClock
from calmops.foundation.errors import CalmopsError
from calmops.foundation.metric_names import READ_PARTS
from calmops.messages.record import Record
from calmops.telemetry.log import codec
from calmops.telemetry.log.errors import LogUnavailable
from calmops.telemetry.log.positions import Positions
from calmops.telemetry.log.spool_source import SpoolSource
from calmops.telemetry.metering.counts import Counts
from calmops.telemetry.metering.fold import CLOCKS_DIFFER_NS, fold
from calmops.telemetry.metering.meter_store import MeterStore
from calmops.telemetry.metering.source_progress import SILENT_NS, begin_at, give_up, note_seen, skip_to
from calmops.telemetry.metering.stored_edges import move_to_edges
from calmops.telemetry.settings import TelemetrySettings

T = TypeVar("T")
BATCH_RECORDS = 5000
IDLE_S = 0.1
FAILED_S = 1.0  # between a failure and the next try
LOOK_NS = 60 * 10**9  # between two looks for sources that have been silent for too long
_log = logging.getLogger("calmops.meter")


class RecordSource(Protocol):
    """Gives the meter its envelopes."""

    def read(self, positions: Positions, limit: int) -> list[tuple[str, int, bytes]]:
        """Return (position's name, position, body) of new records, in order per name; empty if there are none."""
        ...

    def saved(self, positions: Positions) -> None:
        """Take note that the counts up to these positions are durable."""
        ...

    def close(self) -> None: ...


class MeterEnded(CalmopsError):
    """Says that the thread that folds has ended, so that the counts stand still. Start the meter again."""


class Meter:
    """Folds the log on its own thread; ``look`` may be called from any thread."""

    def __init__(
        self,
        settings: TelemetrySettings,
        state: Path | None = None,
        clock: Clock | None = None,
        see: Callable[[Record], None] | None = None,
    ) -> None:
        """``see`` gets each record once it is counted, in the log's order, on the meter's thread; it must not raise."""
        self._settings = settings
        self._see = see
        self._clock = clock or SystemClock()
        self._store = MeterStore(state or paths.folder("state") / "meter.db")
        saved = self._store.load()
        self.rebuilt = saved is None
        self._counts, self._positions = saved or (Counts(rebuilt_ns=self._clock.wall_ns()), {})
        if kinds := move_to_edges(self._counts):
            _log.warning(
                "bucket edges changed since the counts were saved (%s): each moved to the next edge", ", ".join(kinds)
            )
        self._source: RecordSource | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)
        self._reading_since_ns = self._looked_ns = self._clock.now_ns()
        self.read_failures = dict.fromkeys(READ_PARTS, 0)

    def start(self) -> None:
        """Start the thread that folds."""
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End the thread, close the log and give up the lease."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        if self._source is not None:
            self._source.close()
        self._store.close()

    def check_health(self) -> None:
        """Raise MeterEnded if the thread that folds has ended though nobody stopped the meter."""
        if self._thread.ident is not None and not self._thread.is_alive() and not self._stopping.is_set():
            raise MeterEnded(
                "the thread that folds the log has ended: what is shown stands still; start the meter again"
            )

    def look(self, reading: Callable[[Counts], T]) -> T:
        """Return what ``reading`` makes of the counts, which stand still meanwhile."""
        with self._lock:
            return reading(self._counts)

    def advance(self) -> int:
        """Read, fold and save one batch; return how many records it held.

        Raises what reading the log raises; no record is lost by that.
        """
        if self._source is None:
            self._source = self._log_source()
        rows = self._source.read(self._positions, BATCH_RECORDS)
        now_ns = self._clock.wall_ns()
        with self._lock:
            for name, position, body in rows:
                self._positions[name] = position
                self._fold(name, position, body, now_ns)
            changed = self._give_up(now_ns) or bool(rows)
        if changed:
            self._save(self._source, now_ns)
        return len(rows)

    def _log_source(self) -> RecordSource:
        if self._settings.kafka is None:
            return SpoolSource(self._settings.spool_folder(), self._clock, partial(self._failed, "spool_file"))
        from calmops.telemetry.log.kafka_log import KafkaSource

        return KafkaSource(self._settings.kafka)

    def _fold(self, name: str, position: int, body: bytes, now_ns: int) -> None:
        try:
            envelope = codec.decode(body)
        except codec.RecordError as error:
            self._misread((name, position) if self._settings.kafka is None else error.place, now_ns)
            return
        old = envelope.record.at_ns < self._counts.rebuilt_ns + CLOCKS_DIFFER_NS
        self._settle_earlier(envelope.source, envelope.seq, old=old)
        folded = self._counts.folded
        try:
            fold(self._counts, envelope, now_ns)
        except Exception:  # the next record can be counted all the same
            self._failed("unexpected")
            self._counts.unreadable += 1
            self._counts.misread += 1
        if self._see is not None and self._counts.folded > folded:
            self._see(envelope.record)

    def _misread(self, place: tuple[str, int] | None, now_ns: int) -> None:
        """Count a body that is no record. If its place (source, seq) isn't known, it will count as a gap too."""
        if place is not None:
            self._settle_earlier(*place, old=self.rebuilt)
            if not note_seen(self._counts, *place, now_ns):
                self._counts.duplicates += 1
                return
            self._counts.misread += 1
        self._counts.unreadable += 1

    def _settle_earlier(self, source: str, seq: int, *, old: bool) -> None:
        """Decide about a source's records before this one that weren't seen: deleted, late or lost.

        ``old``: the record may be older than this meter, so those before it may have been deleted before it began.
        In a spool no record comes late: all that are missing are lost.
        """
        if old:
            begin_at(self._counts, source, seq - 1)
        if self._settings.kafka is None:
            skip_to(self._counts, source, seq - 1)

    def _give_up(self, now_ns: int) -> bool:
        """Take what is missing of silent sources as lost; return whether there was any.

        A source counts as silent only if the log could be read all that time.
        """
        looked_ns = self._clock.now_ns()
        if looked_ns - self._looked_ns < LOOK_NS or looked_ns - self._reading_since_ns < SILENT_NS:
            return False
        self._looked_ns = looked_ns
        return give_up(self._counts, now_ns - SILENT_NS)

    def _save(self, source: RecordSource, now_ns: int) -> None:
        try:
            self._store.save(self._counts, self._positions, now_ns)
        except Exception:  # the next meter reads again what isn't saved
            self._failed("save")
        else:
            source.saved(self._positions)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                pause_s = 0.0 if self.advance() else IDLE_S
            except Exception as error:  # the next try may succeed
                self._failed("log" if isinstance(error, sqlite3.Error | OSError | LogUnavailable) else "unexpected")
                self._reading_since_ns = self._clock.now_ns()
                pause_s = FAILED_S
            self._stopping.wait(pause_s)

    def _failed(self, part: str) -> None:
        """Count the exception that is being handled, and log it the first time."""
        self.read_failures[part] += 1
        if self.read_failures[part] == 1:
            _log.exception("the meter failed (%s) and tries again; further failures are only counted", part)
