"""Spool to log: a thread that reads the spools in order, hands records on, and marks them once they are acknowledged.

One round is outstanding at a time, so what the client library holds is bounded, and a failed round is simply sent
again from the mark: the fold ignores what comes twice.
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
_ACKNOWLEDGED_S = 0.5  # how long one look at the acknowledgements waits
_SLOW_LOOKS = 4  # looks without success after which the log counts as away
_SESSION_LOOKS = 30  # and after which a new session is made: one that outlives its broker may never find it again
_LAST_ROUND_S = 5.0  # how long stop() lets the records that are left be forwarded
_READ_RECORDS = 500  # from one spool at once


class Forwarder:
    """Forwards the spools that its gateway holds. Waits out an outage; gives up nothing."""

    def __init__(self, settings: KafkaSettings, adopted: Callable[[], list[Path]]) -> None:
        """``adopted`` gives the spool files to forward now. Raises ConfigError on settings that can't work."""
        settings.check()
        self._settings = settings
        self._adopted = adopted
        self._spools: dict[Path, Spool] = {}
        self._marks: dict[Path, int] = {}
        self._writer: KafkaWriter | None = None
        self._stopping = threading.Event()
        self._give_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="forwarder", daemon=True)
        self._away = False
        self._counts = dict.fromkeys(("forwarded", "forward_failures", "forward_too_large", "forward_waiting"), 0)

    def start(self) -> None:
        """Begin to forward."""
        self._thread.start()

    def stop(self) -> None:
        """Forward what is left if the log is there, but for at most some seconds; the rest waits in the spool."""
        self._stopping.set()
        if self._away:
            self._give_up.set()
        if self._thread.is_alive():
            self._thread.join(2 * _LAST_ROUND_S)

    def stats(self) -> dict[str, int]:
        """forwarded, forward_failures, forward_too_large: records or failures so far; forward_waiting: records now."""
        return dict(self._counts)

    def _run(self) -> None:
        while not self._stopping.is_set():
            pause_s = self._turn()
            if pause_s:
                self._stopping.wait(pause_s)
        last_rounds = threading.Timer(_LAST_ROUND_S, self._give_up.set)
        last_rounds.start()
        while not self._give_up.is_set() and self._turn() == 0:
            pass
        last_rounds.cancel()
        self._disconnect()
        for spool in self._spools.values():
            spool.close()

    def _turn(self) -> float:
        """One round; how many seconds to pause after it."""
        try:
            return 0.0 if self._round() else _IDLE_S
        except (LogUnavailable, sqlite3.Error, OSError) as error:
            self._counts["forward_failures"] += 1
            self._note_away(str(error))
            self._disconnect()
            return _RETRY_S

    def _round(self) -> int:
        """Forward the oldest records of every spool and wait for all acknowledgements; how many records."""
        self._follow(self._adopted())
        records, reached = self._read()
        if not records:
            self._counts["forward_waiting"] = 0
            return 0
        self._counts["forward_waiting"] = sum(s.mark("written") - self._marks[path] for path, s in self._spools.items())
        if self._writer is None:
            self._writer = KafkaWriter(self._settings)
        for source, body in records:
            self._writer.send(source, body)
        looks = 0
        while not self._writer.acknowledged(_ACKNOWLEDGED_S):
            looks += 1
            if looks == _SLOW_LOOKS:
                self._note_away("records are not acknowledged")
            if self._give_up.is_set():
                raise LogUnavailable("stopped before the log had acknowledged everything")
            if looks == _SESSION_LOOKS:
                raise LogUnavailable(f"records are not acknowledged after {looks * _ACKNOWLEDGED_S:g} s")
        if self._away:
            self._away = False
            _log.warning("the telemetry log is back")
        for path, seq in reached.items():
            self._spools[path].advance("kafka", seq)
            self._marks[path] = seq
        self._counts["forwarded"] += len(records)
        self._counts["forward_waiting"] -= len(records)
        self._counts["forward_too_large"] += self._writer.take_too_large()
        return len(records)

    def _read(self) -> tuple[list[tuple[str, bytes]], dict[Path, int]]:
        """(source, body) of the next records within the in-flight bounds, and the seq reached in each spool."""
        records: list[tuple[str, bytes]] = []
        reached: dict[Path, int] = {}
        room_records, room_bytes = self._settings.in_flight_records, self._settings.in_flight_bytes
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

    def _follow(self, paths: list[Path]) -> None:
        """Open spools that were adopted, close those that were deleted."""
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
