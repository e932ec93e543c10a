"""Moves records from ring to spool on its own thread: group commits, retention, adoption of dead gateways' spools.

Knows neither Kafka nor the meter; it reads their marks in the spool.
"""

import sqlite3
import threading
from pathlib import Path

from calmops.foundation.clock import Clock
from calmops.foundation.errors import SetupError
from calmops.messages.record import Closed, Dropped, Opened, Record
from calmops.telemetry.log.codec import RecordError
from calmops.telemetry.log.ring import Entry, OnCommit, Ring
from calmops.telemetry.log.spool import Spool, SpoolLease, remove_spool, spool_files, spool_path
from calmops.telemetry.settings import TelemetrySettings

_PRUNE_EVERY_NS = 5_000_000_000
_FULL_EVERY_NS = 250_000_000  # how often a full spool looks for something to delete
_LEASE_TRIES, _LEASE_WAIT_S = 20, 0.05  # a gateway that checks whether this one is dead holds the lease briefly
_RETRY_S = 0.5


def closed_as_lost(opened: Opened, now_ns: int) -> Closed:
    """Return the closing record of a request whose gateway died with its journal; its tokens are not known."""
    return Closed(
        request_id=opened.request_id, model=opened.model, gateway_id=opened.gateway_id, at_ns=now_ns,
        outcome="lost_gateway", attempts=0, prompt_tokens=opened.prompt_tokens, journaled=0, delivered=0,
        discarded=0, ttft_ns=None, duration_ns=max(0, now_ns - opened.at_ns), ledger="unknown",
        detail="the gateway died", labels=opened.labels,
    )  # fmt: skip


class SpoolWriter:
    """Owns one gateway's spool file and those that it adopts. The event loop calls only ``put``."""

    def __init__(self, gateway_id: str, settings: TelemetrySettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._gateway_id = gateway_id
        self._folder = settings.spool_folder()
        self._path = spool_path(self._folder, gateway_id)
        self._ring = Ring(settings.ring_records, settings.ring_reserved)
        self._leases: dict[Path, SpoolLease] = {}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spool-writer", daemon=True)
        self._next_prune_ns = 0
        self._next_full_ns = 0
        self._dead_since_ns: dict[Path, int] = {}
        self.committed_records = 0
        self.commit_failures = 0

    @property
    def dropped(self) -> dict[str, int]:
        """Return the number of records that didn't reach the spool, by reason."""
        return dict(self._ring.dropped)

    def start(self) -> None:
        """Take the lease and start the thread. Raises SetupError if a living gateway has the same id on this node."""
        lease = SpoolLease(self._path)
        for _ in range(_LEASE_TRIES):
            if lease.acquire():
                break
            self._stopping.wait(_LEASE_WAIT_S)
        else:
            raise SetupError(f"gateway id {self._gateway_id!r} is in use on this node: {self._path} is locked")
        self._leases[self._path] = lease
        self._thread.start()

    def put(self, record: Record, on_commit: OnCommit | None = None) -> bool:
        """Take a record without waiting; return False if it was dropped.

        ``on_commit(True)`` is called on the writer's thread, ``on_commit(False)`` on either.
        """
        taken = self._ring.put(record, on_commit)
        if on_commit is not None:
            if not taken:
                on_commit(False)
            self._wake.set()
        return taken

    def spool_paths(self) -> list[Path]:
        """Return the spool files that this writer holds: its own, and those of dead gateways."""
        return list(self._leases)

    def stop(self, timeout_s: float = 5.0) -> None:
        """Commit what the ring holds and release the leases.

        A writer that is stuck in a commit after ``timeout_s`` keeps them until the process ends.
        """
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        if not self._thread.is_alive():
            for lease in self._leases.values():
                lease.release()

    def _run(self) -> None:
        spool = self._open()
        while spool is None:
            if self._stopping.wait(_RETRY_S):
                return
            spool = self._open()
        while not self._stopping.is_set():
            self._wake.wait(self._settings.commit_interval_s)
            self._wake.clear()
            self._drain(spool)
            self._maintain(spool)
        self._drain(spool)
        spool.close()

    def _open(self) -> Spool | None:
        try:
            spool = Spool(self._path)
            self._close_orphans(spool)
        except (sqlite3.Error, OSError):
            self.commit_failures += 1
            return None
        return spool

    def _drain(self, spool: Spool) -> None:
        for _ in range(self._settings.ring_records // self._settings.batch_records + 1):
            entries = self._ring.take(self._settings.batch_records)
            drops = self._ring.take_drops()
            if not entries and not drops:
                return
            self._commit(spool, entries, drops)

    def _commit(self, spool: Spool, entries: list[Entry], drops: dict[str, tuple[int, int]]) -> None:
        now_ns = self._clock.wall_ns()
        try:
            entries = self._admit(spool, entries)
            records: list[Record] = []
            if spool.size_bytes > self._settings.retention.spool_max_bytes:
                self._ring.restore_drops(drops)
            else:
                records += [
                    Dropped(gateway_id=self._gateway_id, at_ns=now_ns, reason=reason, records=count, tokens=tokens)
                    for reason, (count, tokens) in drops.items()
                ]
            records += [record for record, _ in entries]
            if records:
                spool.append(records, now_ns)
        except sqlite3.Error:
            self.commit_failures += 1
            self._ring.restore_drops(drops)
            self._refuse("spool_unavailable", entries)
            return
        self.committed_records += len(records)
        for _, on_commit in entries:
            if on_commit is not None:
                on_commit(True)

    def _admit(self, spool: Spool, entries: list[Entry]) -> list[Entry]:
        """Return the entries that the spool has room for; refuse the others as ``spool_full``."""
        max_bytes = self._settings.retention.spool_max_bytes
        limit = max_bytes - min(self._settings.reserved_bytes, max_bytes // 4)
        if spool.size_bytes <= limit:
            return entries
        now_ns = self._clock.now_ns()
        if now_ns >= self._next_full_ns:
            self._next_full_ns = now_ns + _FULL_EVERY_NS
            self._prune(spool, limit // 2)
            if spool.size_bytes <= limit:
                return entries
        is_full = spool.size_bytes > max_bytes
        kept: list[Entry] = []
        refused: list[Entry] = []
        for entry in entries:
            has_room = isinstance(entry[0], Opened | Closed) and not is_full
            (kept if has_room else refused).append(entry)
        self._refuse("spool_full", refused)
        return kept

    def _refuse(self, reason: str, entries: list[Entry]) -> None:
        for record, on_commit in entries:
            self._ring.count_drop(reason, record)
            if on_commit is not None:
                on_commit(False)

    def _maintain(self, spool: Spool) -> None:
        now_ns = self._clock.now_ns()
        if now_ns < self._next_prune_ns:
            return
        self._next_prune_ns = now_ns + min(_PRUNE_EVERY_NS, int(self._settings.lease_s * 5e8))
        try:
            self._prune(spool, self._settings.retention.spool_bytes)
            for path in spool_files(self._folder):
                if path in self._leases:
                    self._maintain_adopted(path)
                else:
                    self._adopt(path, now_ns)
        except (sqlite3.Error, OSError):
            self.commit_failures += 1

    def _maintain_adopted(self, path: Path) -> None:
        if path == self._path:
            return
        spool = Spool(path)
        self._prune(spool, self._settings.retention.spool_bytes // len(self._leases))
        is_empty = spool.is_empty()
        spool.close()
        if is_empty:
            remove_spool(path)
            self._leases.pop(path).release()

    def _prune(self, spool: Spool, keep_bytes: int) -> None:
        reader = "kafka" if self._settings.kafka is not None else "meter"
        before_ns = self._clock.wall_ns() - int(self._settings.retention.spool_age_s * 1e9)
        spool.prune(reader, before_ns, keep_bytes)

    def _adopt(self, path: Path, now_ns: int) -> None:
        lease = SpoolLease(path)
        if not lease.acquire():
            self._dead_since_ns.pop(path, None)
            return
        # The lease is free: its gateway is dead. Adopt the spool once that has been so for ``lease_s``.
        since_ns = self._dead_since_ns.setdefault(path, now_ns)
        if now_ns - since_ns < self._settings.lease_s * 1e9:
            lease.release()
            return
        del self._dead_since_ns[path]
        self._leases[path] = lease
        spool = Spool(path)
        self._close_orphans(spool)
        spool.close()

    def _close_orphans(self, spool: Spool) -> None:
        now_ns = self._clock.wall_ns()
        try:
            orphans = [closed_as_lost(opened, now_ns) for opened in spool.orphans()]
        except RecordError:
            self.commit_failures += 1
            return
        if orphans:
            spool.append(orphans, now_ns)
