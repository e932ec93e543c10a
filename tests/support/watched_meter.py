"""Makes a watcher and a meter without a log, on one clock: records are counted, and the watcher sees them."""

from collections.abc import Callable
from typing import TypeVar

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from calmops.foundation.clock import Clock, ManualClock
from calmops.foundation.model_labels import ModelLabels
from calmops.messages.record import Record
from calmops.objectives.promises.prices import Price, Prices
from calmops.objectives.promises.promises import Promises
from calmops.objectives.promises_folder import read_folder
from calmops.telemetry.metering.counts import Counts
from calmops.telemetry.metering.fold import fold
from calmops.watching.watcher import Watcher
from tests.support.telemetry_records import T0_NS, envelopes

T = TypeVar("T")
S = 10**9
PROD = ModelLabels("m", "r1", "stable", "base", "production")
PROMISES = read_folder().promises
PRICES = Prices(currency="EUR", prices=(Price(on_demand_per_hour=3.6),))


class FoldedMeter:
    """Stands in for a meter: counts the records that it is given, without a log."""

    def __init__(self, clock: Clock) -> None:
        self.counts = Counts()
        self._clock = clock
        self._seq = 0

    def take(self, watcher: Watcher, *records: Record) -> None:
        for envelope in envelopes("gw", list(records)):
            self._seq += 1
            fold(self.counts, msgspec.structs.replace(envelope, seq=self._seq), self._clock.wall_ns())
            watcher.see(envelope.record)

    def look(self, reading: Callable[[Counts], T]) -> T:
        return reading(self.counts)


def watched(
    promises: Promises | None = PROMISES, prices: Prices | None = None
) -> tuple[Watcher, FoldedMeter, ManualClock]:
    """Return a watcher, its meter, and the clock of both."""
    clock = ManualClock(T0_NS)
    return new_watcher(clock, promises, prices), FoldedMeter(clock), clock


def new_watcher(clock: Clock, promises: Promises | None = PROMISES, prices: Prices | None = None) -> Watcher:
    """Return a watcher that judges by these promises and prices."""
    watcher = Watcher(clock=clock)
    watcher.use(promises, prices)
    return watcher


def labelled(record: Record, **more: object) -> Record:
    return msgspec.structs.replace(record, labels=PROD.rest, **more)


def events(watcher: Watcher) -> dict[tuple[str, str, str, str], float]:
    """Return the events counted, by objective, version, shard and result."""
    families = {family.name: family for family in text_string_to_metric_families(watcher.metrics().decode())}
    return {
        (s.labels["objective"], s.labels["version"], s.labels["shard"], s.labels["result"]): s.value
        for s in families["calmops_objective_events"].samples
    }
