"""Moves records from the spools to Kafka in order, on its own thread, and marks them once they are acknowledged.

One round is outstanding at a time, so what the client library holds is bounded. A failed round is sent again from the
mark: the fold ignores duplicates. Knows no ring, no gateway and no meter.
"""

import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from calmops.telemetry.log.errors import LogUnavailable
from calmops.telemetry.log.kafka_log import KafkaWriter
from calmops.telemetry.log.spool import Spool
from calmops.telemetry.settings import KafkaSettings

_log = logging.getLogger(__name__)
_IDLE_S = 0.05
_RETRY_S = 1.0
_FLUSH_S = 0.5  # how long one flush waits for acknowledgements
_SLOW_FLUSHES = 4  # flushes without success after which the log counts as away
_SESSION_FLUSHES = 30  # and after which a new session is made: an old one may never find a restarted broker again
_LAST_ROUND_S = 5.0  # how long stop() lets the records that are left be forwarded
_READ_RECORDS = 500  # from one spool at once


class Forwarder:
    """Forwards the spools that its gateway holds. Retries through an outage and loses nothing to it."""

    def __init__(self, settings: KafkaSettings, spool_paths: Callable[[], list[Path]]) -> None:
        """``spool_paths`` returns the spool files to forward now. Raises ConfigError on settings that can't work."""
        self._settings = settings
        self._spool_paths = spool_paths
        self._spools: dict[Path, Spool] = {}
        self._marks: dict[Path, int] = {}
        self._writer: KafkaWriter | None = None
        self._stopping = threading.Event()
        self._give_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="forwarder", daemon=True)
        self._away = False
        self._counts = dict.fromkeys(("forwarded", "forward_failures", "forward_too_large", "forward_waiting"), 0)

    def start(self) -> None:
        """Start the thread that forwards."""
        self._thread.start()

    def stop(self) -> None:
        """Forward what is left for at most a few seconds, if the log is there; the rest stays in the spool."""
        self._stopping.set()
        if self._away:
            self._give_up.set()
        if self._thread.is_alive():
            self._thread.join(2 * _LAST_ROUND_S)

    def stats(self) -> dict[str, int]:
        """Return counts so far (forwarded, forward_failures, forward_too_large) and forward_waiting, records now."""
        return dict(self._counts)

    def _run(self) -> None:
        while not self._stopping.is_set():
            pause_s = self._try_round()
            if pause_s:
                self._stopping.wait(pause_s)
        last_rounds = threading.Timer(_LAST_ROUND_S, self._give_up.set)
        last_rounds.start()
        while not self._give_up.is_set() and self._try_round() == 0:
            pass
        last_rounds.cancel()
        self._disconnect()
        for spool in self._spools.values():
            spool.close()

    def _try_round(self) -> float:
        """Run one round and return how many seconds to pause after it."""
        try:
            return 0.0 if self._round() else _IDLE_S
        except (LogUnavailable, sqlite3.Error, OSError) as error:
            self._counts["forward_failures"] += 1
            self._note_away(str(error))
            self._disconnect()
            return _RETRY_S

    def _round(self) -> int:
        """Forward the oldest records of every spool, wait for all acknowledgements, return the number of records."""
        self._open_and_close(self._spool_paths())
        records, reached = self._read()
        if not records:
            self._counts["forward_waiting"] = 0
            return 0
        self._counts["forward_waiting"] = sum(
            spool.mark("written") - self._marks[path] for path, spool in self._spools.items()
        )
        if self._writer is None:
            self._writer = KafkaWriter(self._settings)
        for source, body in records:
            self._writer.send(source, body)
        self._await_acknowledgements(self._writer)
        for path, seq in reached.items():
            self._spools[path].advance("kafka", seq)
            self._marks[path] = seq
        self._counts["forwarded"] += len(records)
        self._counts["forward_waiting"] -= len(records)
        self._counts["forward_too_large"] += self._writer.take_too_large()
        return len(records)

    def _await_acknowledgements(self, writer: KafkaWriter) -> None:
        flushes = 0
        while not writer.flush(_FLUSH_S):
            flushes += 1
            if flushes == _SLOW_FLUSHES:
                self._note_away("records are not acknowledged")
            if self._give_up.is_set():
                raise LogUnavailable("stopped before the log had acknowledged everything")
            if flushes == _SESSION_FLUSHES:
                raise LogUnavailable(f"records are not acknowledged after {flushes * _FLUSH_S:g} s")
        if self._away:
            self._away = False
            _log.warning("the telemetry log is back")

    def _read(self) -> tuple[list[tuple[str, bytes]], dict[Path, int]]:
        """Return (source, body) of the next records within the in-flight bounds, and the seq reached in each spool."""
        records: list[tuple[str, bytes]] = []
        reached: dict[Path, int] = {}
        room_records, room_bytes = self._settings.in_flight_records, self._settings.in_flight_bytes
        # A record larger than the bound goes alone: the first one is always taken.
        for path in list(self._spools):
            spool = self._spools[path]
            for seq, body in spool.read(self._marks[path], min(room_records - len(records), _READ_RECORDS)):
                if records and room_bytes < len(body):
                    break
                room_bytes -= len(body)
                records.append((spool.source, body))
                reached[path] = seq
            if len(records) >= room_records or room_bytes <= 0:
                self._spools[path] = self._spools.pop(path)  # the next round begins with the others
                break
        return records, reached

    def _open_and_close(self, paths: list[Path]) -> None:
        """Open spools that are new, close those that were deleted."""
        for path in self._spools.keys() - set(paths):
            self._spools.pop(path).close()
        for path in paths:
            if path not in self._spools and path.exists():
                spool = Spool(path)
                self._spools[path], self._marks[path] = spool, spool.mark("kafka")

    def _note_away(self, why: str) -> None:
        if not self._away:
            self._away = True
            _log.warning("the telemetry log is away, records wait in the spool: %s", why)

    def _disconnect(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
