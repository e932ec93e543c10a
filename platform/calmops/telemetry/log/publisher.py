"""Takes the gateway's records: ``SpoolPublisher`` writes them to the log, ``SilentPublisher`` drops them.

Never blocks the event loop. Knows no request and no frame, only records.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from calmops.foundation.clock import Clock, SystemClock
from calmops.foundation.model_labels import NO_LABELS, ModelLabels
from calmops.messages.record import Counted, Opened, Record
from calmops.telemetry.log.spool_writer import SpoolWriter
from calmops.telemetry.settings import TelemetrySettings


class Publisher(Protocol):
    """Takes records and counts without waiting and without raising."""

    @property
    def labels(self) -> Mapping[str, ModelLabels]:
        """Return the labels by model, for callers that make records."""
        ...

    def publish(self, record: Record) -> bool:
        """Hand over a record; return False if it is dropped at once."""
        ...

    def count(self, model: str, name: str, reason: str, value: int = 1) -> None:
        """Publish that one of ``foundation.metric_names.EVENTS`` happened, ``value`` times."""
        ...


class SpoolPublisher:
    """Writes one gateway's records into the log, through its spool. Records of one publisher keep their order.

    ``gateway_id`` names one life of a gateway process, never two: a spool that was drained and deleted leaves its
    numbers behind in the meter, which would take a second life's records for duplicates.
    """

    def __init__(
        self,
        gateway_id: str,
        settings: TelemetrySettings,
        clock: Clock | None = None,
        labels: Mapping[str, ModelLabels] | None = None,
    ) -> None:
        """``labels``: by model, for its own counts and for callers that make records. The caller may fill it later."""
        self.gateway_id = gateway_id
        self.labels: Mapping[str, ModelLabels] = {} if labels is None else labels
        self._settings = settings
        self._clock = clock or SystemClock()
        self._writer = SpoolWriter(gateway_id, settings, self._clock)
        self._forwarder: _LogForwarder | None = None
        self._unavailable = 0

    @property
    def refusal(self) -> str:
        """Why ``publish`` returned False, and what to do."""
        return "telemetry is behind; try again in a second"

    def start(self) -> None:
        """Take the spool's lease and start the threads. Raises SetupError if the id is in use on this node."""
        self._writer.start()
        if self._settings.kafka is not None:
            from calmops.telemetry.log.forwarder import Forwarder

            self._forwarder = Forwarder(self._settings.kafka, self._writer.spool_paths)
            self._forwarder.start()

    def publish(self, record: Record) -> bool:
        """Hand over a record; return False if the ring is full: then the record is dropped and counted."""
        return self._writer.put(record)

    def count(self, model: str, name: str, reason: str, value: int = 1) -> None:
        """Publish that one of ``foundation.metric_names.EVENTS`` happened, ``value`` times."""
        self.publish(
            Counted(
                gateway_id=self.gateway_id,
                model=model,
                at_ns=self._clock.wall_ns(),
                name=name,
                reason=reason,
                value=value,
                labels=self.labels.get(model, NO_LABELS).rest,
            )  # fmt: skip
        )

    async def open(self, record: Opened) -> bool:
        """Return True once the record is committed, False if it wasn't within ``open_wait_s``.

        False is counted as ``spool_unavailable``; serve the request all the same, its ledger is "unknown".
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()

        def settle(committed: bool) -> None:
            if not future.done():
                future.set_result(committed)

        def on_commit(committed: bool) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(settle, committed)

        self._writer.put(record, on_commit)
        try:
            committed = await asyncio.wait_for(future, self._settings.open_wait_s)
        except TimeoutError:
            committed = False
        if not committed:
            self._unavailable += 1
            self.count(record.model, "spool_unavailable", "opening_record_not_committed")
        return committed

    def close(self) -> None:
        """Commit what is left and stop. Don't call it on the event loop: it may take seconds."""
        self._writer.stop()
        if self._forwarder is not None:
            self._forwarder.stop()

    def stats(self) -> dict[str, int]:
        """Return counts since the start.

        They are committed, commit_failures, spool_unavailable, dropped_<reason>, and those of the forwarder.
        """
        counts = {
            "committed": self._writer.committed_records,
            "commit_failures": self._writer.commit_failures,
            "spool_unavailable": self._unavailable,
        }
        counts.update({f"dropped_{reason}": n for reason, n in self._writer.dropped.items()})
        if self._forwarder is not None:
            counts.update(self._forwarder.stats())
        return counts


class SilentPublisher:
    """Stands in for a SpoolPublisher where telemetry is off: records go nowhere, and no ledger is ever held."""

    def __init__(self, gateway_id: str, labels: Mapping[str, ModelLabels]) -> None:
        self.gateway_id = gateway_id
        self.labels = labels

    @property
    def refusal(self) -> str:
        """Why ``publish`` returned False, and what to do."""
        return "telemetry is off, so nothing can be counted"

    def start(self) -> None:
        """Do nothing: there is no thread."""

    def publish(self, record: Record) -> bool:  # noqa: ARG002
        """Drop the record and return False."""
        return False

    def count(self, model: str, name: str, reason: str, value: int = 1) -> None:
        """Drop the count."""

    async def open(self, record: Opened) -> bool:  # noqa: ARG002
        """Drop the record and return False: the request's ledger is "unknown"."""
        return False

    def close(self) -> None:
        """Do nothing: there is no thread."""

    def stats(self) -> dict[str, int]:
        """Return no counts."""
        return {}


class _LogForwarder(Protocol):
    # The Forwarder's own file needs kafka-python, and is imported only where Kafka is configured.
    def start(self) -> None: ...

    def stop(self) -> None: ...

    def stats(self) -> dict[str, int]: ...


GatewayPublisher = SpoolPublisher | SilentPublisher  # what a gateway is given: the log, or nothing
