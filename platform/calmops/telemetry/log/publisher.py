"""All that the gateway knows of telemetry: publish, open, start, close. Never blocks the event loop."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from calmops.foundation.clock import Clock, SystemClock
from calmops.foundation.model_labels import NO_LABELS, ModelLabels
from calmops.messages.record import Counted, Opened, Record
from calmops.telemetry.log.spool_writer import SpoolWriter
from calmops.telemetry.settings import TelemetrySettings


class _Forwarding(Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...

    def stats(self) -> dict[str, int]: ...


class Publisher:
    """One gateway's way into the log. Records of one publisher keep their order.

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
        """``labels``: by model; of what it counts itself, and for whoever makes records for it."""
        self.gateway_id = gateway_id
        self.labels: Mapping[str, ModelLabels] = {} if labels is None else labels  # an empty one is filled later
        self._settings = settings
        self._clock = clock or SystemClock()
        self._writer = SpoolWriter(gateway_id, settings, self._clock)
        self._forwarder: _Forwarding | None = None
        self._unavailable = 0

    @property
    def refusal(self) -> str:
        """Why ``publish`` returned False, and what to do."""
        return "telemetry is behind; try again in a second"

    def start(self) -> None:
        """Take the spool's lease and start the threads. SetupError if the id is in use on this node."""
        self._writer.start()
        if self._settings.kafka is not None:
            from calmops.telemetry.log.forwarder import Forwarder

            self._forwarder = Forwarder(self._settings.kafka, self._writer.adopted)
            self._forwarder.start()

    def publish(self, record: Record) -> bool:
        """Hand over a record; False if the ring is full: then it is dropped and counted. Never waits, never raises."""
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
        """True once the record is committed; False if it wasn't within ``open_wait_s``.

        False is counted ``spool_unavailable``; serve the request all the same, its ledger is "unknown".
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()

        def settle(committed: bool) -> None:
            if not future.done():
                future.set_result(committed)

        def on_commit(committed: bool) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
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
        """Commit what is left and stop. Call it off the event loop: it may take seconds."""
        self._writer.stop()
        if self._forwarder is not None:
            self._forwarder.stop()

    def stats(self) -> dict[str, int]:
        """Counts since the start: committed, commit_failures, spool_unavailable, dropped_<reason>, forwarding's own."""
        counts = {
            "committed": self._writer.committed_records,
            "commit_failures": self._writer.commit_failures,
            "spool_unavailable": self._unavailable,
        }
        counts.update({f"dropped_{reason}": n for reason, n in self._writer.dropped.items()})
        if self._forwarder is not None:
            counts.update(self._forwarder.stats())
        return counts


class Unpublished(Publisher):
    """In a publisher's place where telemetry is off: what it is handed goes nowhere, and no ledger is ever held."""

    def __init__(self, gateway_id: str, labels: Mapping[str, ModelLabels]) -> None:
        self.gateway_id = gateway_id
        self.labels = labels

    @property
    def refusal(self) -> str:
        """Why ``publish`` returned False, and what to do."""
        return "telemetry is off, so nothing can be counted"

    def start(self) -> None:
        """Nothing to start."""

    def publish(self, record: Record) -> bool:  # noqa: ARG002
        """Forget it."""
        return False

    def count(self, model: str, name: str, reason: str, value: int = 1) -> None:
        """Forget it."""

    async def open(self, record: Opened) -> bool:  # noqa: ARG002
        """Not recorded."""
        return False

    def close(self) -> None:
        """Nothing to stop."""

    def stats(self) -> dict[str, int]:
        """Nothing was counted."""
        return {}
