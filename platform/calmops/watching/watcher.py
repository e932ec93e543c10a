"""Reads a meter's counts every second and hands them to the judgement, the costs and the console's live figures.

It stands beside the meter, not in it: the meter folds and saves, and goes on doing so whatever breaks here.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from calmops.console.live_figures import LiveFigures, ModelReading
from calmops.console.strips import Strips
from calmops.foundation.clock import Clock, SystemClock
from calmops.foundation.metric_names import WATCH_PARTS
from calmops.foundation.model_labels import ModelLabels, ModelPlace
from calmops.messages.record import Record
from calmops.messages.roster import Roster
from calmops.objectives.evaluation.costs import SPAN_S, Costs, Usage
from calmops.objectives.evaluation.event_counters import Counter, counters
from calmops.objectives.promises.prices import Prices
from calmops.objectives.promises.promises import Promises
from calmops.telemetry.exposition.prometheus import exposition, rendered
from calmops.telemetry.metering.counts import Counts
from calmops.tracing.tracer import Tracer
from calmops.watching.cluster_metrics import cluster_families
from calmops.watching.count_views import ran, readings, tallies, usage
from calmops.watching.judgement import NOT_YET, Judgement
from calmops.watching.page_state import alerts, objectives
from calmops.watching.watch_metrics import NOTHING_READ, Reading, SpanCounts, judged_families, own_families, priced

T = TypeVar("T")
_log = logging.getLogger("calmops.watch")
EVERY_S = 1.0  # between two readings of the counts
NO_PRICES = Prices(currency="XXX")  # ISO 4217's code for no currency; without prices nothing is shown in it
SAVE_S = 60.0  # between two saves of the judgement's sums


class CountsReader(Protocol):
    """Reads a meter's counts: what the watcher needs of a meter."""

    def look(self, reading: Callable[[Counts], T]) -> T:
        """Return what ``reading`` makes of the counts, which don't change meanwhile."""
        ...


class _Views(NamedTuple):
    """Holds one reading of the counts in the form that each consumer takes."""

    counters: dict[Counter, int]
    figures: dict[str, ModelReading]
    usage: dict[ModelPlace, Usage]
    ran: set[ModelLabels]


class Watcher:
    """Watches one meter. ``see`` is called on the meter's thread, ``tick`` on a thread of its own, the others on any.

    Spans are measured on a clock that is never set: the wall clock at the start, and the time since.
    """

    def __init__(
        self, tracer: Tracer | None = None, spans: SpanCounts | None = None, clock: Clock | None = None
    ) -> None:
        """Begin without promises and prices, which ``use`` brings."""
        self._clock = clock or SystemClock()
        self._began_ns = self._clock.wall_ns() - self._clock.now_ns()
        self._tracer, self._spans = tracer, spans
        self._failures = dict.fromkeys(WATCH_PARTS, 0)
        self._costs = Costs(NO_PRICES)
        self._figures, self._strips = LiveFigures(), Strips()
        self._lock = threading.Lock()
        self._strips_lock = threading.Lock()  # the only one that the meter's thread waits for
        self._reading = NOTHING_READ
        self._judgement = Judgement(self._now_s(), self.failed)
        self._brought: Promises | None = None
        self._saved_s = float("-inf")
        self.roster = Roster()  # as the registry reported it last
        self.nodes: dict[str, bool] = {}  # the cluster's nodes by id, and whether each lives, as reported last

    def use(self, promises: Promises | None = None, prices: Prices | None = None) -> None:
        """Judge by these promises and prices from the next reading on; None leaves those in force."""
        with self._lock:
            self._brought = promises or self._brought
            self._costs.prices = prices or self._costs.prices

    def remember_in(self, path: Path) -> None:
        """Keep the judgement's sums in this file, and go on from those that an earlier meter left there."""
        self._judgement.remember_in(path)

    def see(self, record: Record) -> None:
        """Take one record that was counted just now. If this fails, it is counted, and the meter's thread goes on."""
        try:
            with self._strips_lock:
                self._strips.see(record)
            if self._tracer is not None:
                self._tracer.see(record)
        except Exception:
            self.failed("records")

    def run(self, meter: CountsReader, over: threading.Event) -> None:
        """Read the counts every EVERY_S until ``over`` is set; then save the judgement's sums."""
        while not over.wait(EVERY_S):
            try:
                self.tick(meter)
            except Exception:
                self.failed("look")
        self._judgement.save()

    def tick(self, meter: CountsReader) -> None:
        """Read the counts once, and judge them."""
        with self._lock:
            self._take_up()
        views = meter.look(self._views)
        at_s = self._now_s()
        with self._lock:
            self._costs.read(at_s, views.usage)
            spent = self._costs.spent()
            self._reading = Reading(views.counters, priced(views.ran, spent), spent)
            self._figures.read(at_s, views.figures)
            self._judgement.evaluate(at_s, self._clock.wall_ns() / 1e9, views.counters, self._reading.gauges)
        if at_s - self._saved_s >= SAVE_S:
            self._saved_s = at_s
            self._judgement.save()  # on this thread, which alone changes what the evaluator has

    def exposition(self, counts: Counts, *, openmetrics: bool) -> bytes:
        """Return the meter's counts as text, with an example trace for each bucket."""
        exemplars = self._tracer.exemplars if self._tracer is not None else None
        return exposition(counts, exemplars, now_ns=self._clock.wall_ns(), openmetrics=openmetrics)

    def metrics(self, *, openmetrics: bool = False) -> bytes:
        """Return what was judged as text; it goes behind the meter's own."""
        with self._lock:
            reading = self._reading
        families = [
            *judged_families(reading),
            *cluster_families(self.roster, self.nodes),
            *own_families(self._failures, self._tracer, self._spans),
        ]
        return rendered(families, openmetrics=openmetrics)

    def state(self) -> dict[str, Any]:
        """Return what the console shows, for JSON."""
        wall_ns = self._clock.wall_ns()
        with self._strips_lock:
            strips = self._strips.shown(wall_ns)
        with self._lock:
            return {
                "at_s": wall_ns / 1e9,
                "figures": self._figures.shown(),
                "alerts": alerts(self._judgement),
                "alerts_unknown": NOT_YET if self._brought else self._judgement.unknown(self._now_s()),
                "objectives": objectives(self._judgement),
                **strips,
            }

    def failed(self, part: str) -> None:
        """Count the exception being handled under one of WATCH_PARTS, and log the first one of each part."""
        self._failures[part] += 1
        if self._failures[part] == 1:
            _log.exception("what is made of the counts is incomplete (%s); further failures are only counted", part)

    def _now_s(self) -> float:
        return (self._began_ns + self._clock.now_ns()) / 1e9

    def _take_up(self) -> None:
        promises, self._brought = self._brought, None
        if promises is not None:
            self._judgement.take_up(promises, self._now_s())

    def _views(self, counts: Counts) -> _Views:
        now_ns = self._clock.wall_ns()
        counted = counters(self._judgement.promises.objectives, tallies(counts))
        return _Views(counted, readings(counts, now_ns), usage(counts, now_ns), ran(counts, SPAN_S, now_ns))
