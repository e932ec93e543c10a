"""What the meter's process makes of its counts, each second: objectives that burn, alerts, costs, figures, the token strip.

Beside the meter, not in it: the meter folds and saves, and goes on doing so whatever happens here. Alerts are evaluated
here as well where a Prometheus does so, since the console shows them; only Alertmanager tells people.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from prometheus_client.metrics_core import Metric as Family

from calmops.console.live_figures import LiveFigures
from calmops.console.strips import Strips
from calmops.foundation.clock import Clock, SystemClock
from calmops.foundation.metric_names import COST, OBJECTIVE_EVENTS, SPANS, SPENDING, TRACES, WATCH_FAILURES, WATCH_PARTS
from calmops.messages.record import Record
from calmops.messages.roster import Roster
from calmops.objectives.evaluation import saved_sums
from calmops.objectives.evaluation.costs import SPAN_S, Costs, Spent
from calmops.objectives.evaluation.evaluator import Evaluator, Firing
from calmops.objectives.evaluation.event_counters import Counter, Labels, counters
from calmops.objectives.evaluation.saved_sums import SavedSums
from calmops.objectives.evaluation.status import Status, statuses
from calmops.objectives.promises.maintenance import maintained
from calmops.objectives.promises.objective import AnyObjective, Ratio, Zero
from calmops.objectives.promises.prices import Place, Prices
from calmops.objectives.promises.promises import Promises
from calmops.objectives.promises.windows import AtRisk, Windows
from calmops.objectives.rules.alert_rules import CONSOLE_RUNBOOKS
from calmops.telemetry.exposition.prometheus import exposition, plain, rendered
from calmops.telemetry.metering.counts import Counts
from calmops.tracing.tracer import Tracer
from calmops.watching.cluster_metrics import cluster_families
from calmops.watching.count_views import ran, readings, tallies, usage

T = TypeVar("T")
_log = logging.getLogger("calmops.watch")
EVERY_S = 1.0
EVALUATE_S = 15.0  # as often as a Prometheus would read them
MOST_COUNTERS = (
    5000  # that the embedded evaluator remembers: some 500 MB, counters for six hours, shards' steps for three days
)
LATE_S = 3 * EVALUATE_S  # since the last evaluation, after which nobody knows what fires
NO_PRICES = Prices(currency="XXX")  # ISO 4217's code for no currency; without prices nothing is shown in it
REMEMBER_S = 60.0  # what was noted, so often
NO_PROMISES = Promises((), Windows(windows=(), at_risk=AtRisk(left=0.5, ends_within_s=1)))
UNREAD = "the objectives can't be read; the meter's log says why, and it tries again"
NOT_YET = "the alerts haven't been evaluated yet"
LATE = f"the alerts weren't evaluated for more than {LATE_S:.0f} s; the meter's log says why"


class Counting(Protocol):
    """What it needs of a meter."""

    def look(self, reading: Callable[[Counts], T]) -> T:
        """What ``reading`` makes of the counts, which stand still meanwhile."""
        ...


class SpanCounts(Protocol):
    """What became of spans."""

    sent: int

    @property
    def taken(self) -> int: ...

    @property
    def refused(self) -> int: ...


class _Look(NamedTuple):
    """One reading of the counts."""

    counters: dict[Counter, int]
    gauges: dict[str, dict[Labels, float]]
    spent: dict[Place, Spent | None]


class Judgement:
    """Watches one meter. ``see`` is called on the meter's thread, ``tick`` on its own, the others on any.

    Spans are measured on a clock that is never set: the wall's as it was at the start, and the time since.
    """

    def __init__(
        self,
        promises: Promises | None,
        prices: Prices | None,
        tracer: Tracer | None,
        spans: SpanCounts | None = None,
        clock: Clock | None = None,
    ) -> None:
        """``promises`` None: they couldn't be read, no alert is known of until ``use`` brings them."""
        self._clock = clock or SystemClock()
        self._began_ns = self._clock.wall_ns() - self._clock.now_ns()
        self._tracer, self._spans = tracer, spans
        self._failures = dict.fromkeys(WATCH_PARTS, 0)
        self._costs = Costs(prices or NO_PRICES)
        self._figures, self._strips = LiveFigures(), Strips()
        self._lock, self._strips_lock = (
            threading.Lock(),
            threading.Lock(),
        )  # the meter's thread waits for the latter alone
        self._look = _Look({}, {}, {})
        self._firing: list[Firing] = []
        self._since_s: dict[tuple[str, str, Labels], float] = {}
        self._brought: Promises | None = None
        self._memory: Path | None = None
        self._evaluator = Evaluator((), NO_PROMISES.windows)
        self._due_s = self._remembered_s = float("-inf")
        self._take_up(promises)
        self.roster = Roster()  # as it was reported last
        self.nodes: dict[str, bool] = {}  # of the cluster, and whether they live; likewise

    def use(self, promises: Promises | None = None, prices: Prices | None = None) -> None:
        """What couldn't be read before: from the next look on."""
        with self._lock:
            self._brought = promises or self._brought
            self._costs.prices = prices or self._costs.prices

    def remember_in(self, path: Path) -> None:
        """Go on, from the first look, with what the evaluator of an earlier meter noted there, and keep it there."""
        self._memory = path

    def see(self, record: Record) -> None:
        """One record that was counted just now. Whatever breaks here is counted: the meter, on whose thread this is, goes on."""
        try:
            with self._strips_lock:
                self._strips.see(record)
            if self._tracer is not None:
                self._tracer.see(record)
        except Exception:
            self.failed("records")

    def run(self, meter: Counting, over: threading.Event) -> None:
        """Look each second until it is ``over``."""
        while not over.wait(EVERY_S):
            try:
                self.tick(meter)
            except Exception:
                self.failed("look")
        self._remember()

    def tick(self, meter: Counting) -> None:
        """One look at the counts."""
        with self._lock:
            if self._brought is not None:
                self._take_up(self._brought)
        counted, read, used, lately = meter.look(self._read)
        at_s = self._now_s()
        with self._lock:
            self._costs.read(at_s, used)
            spent = self._costs.spent()
            self._look = _Look(counted, {COST.name: _prices(lately, spent)}, spent)
            self._figures.read(at_s, read)
            if at_s >= self._due_s:
                self._evaluate(at_s)
        if at_s - self._remembered_s >= REMEMBER_S:
            self._remembered_s = at_s
            self._remember()

    def exposition(self, counts: Counts, *, openmetrics: bool) -> bytes:
        """The meter's counts, with the traces that show what a bucket holds."""
        return exposition(
            counts, self._tracer.exemplars if self._tracer is not None else None, now_ns=self._clock.wall_ns(), openmetrics=openmetrics
        )  # fmt: skip

    def metrics(self, *, openmetrics: bool = False) -> bytes:
        """What was judged: goes behind the meter's own."""
        with self._lock:
            look = self._look
        events = [([name.objective, *name.labels, name.result], value) for name, value in sorted(look.counters.items())]
        costs = [([*labels], value) for labels, value in sorted(look.gauges.get(COST.name, {}).items())]
        spending = [
            ([place.model, place.environment, pricing], money)
            for place, spent in sorted(look.spent.items()) if spent is not None for pricing, money in sorted(spent.an_hour.items())
        ]  # fmt: skip
        return rendered(
            [
                plain(OBJECTIVE_EVENTS, events),
                plain(COST, costs),
                plain(SPENDING, spending),
                *cluster_families(self.roster, self.nodes),
                *self._telling(),
            ],
            openmetrics=openmetrics,
        )

    def state(self) -> dict[str, Any]:
        """The console's share of it, for JSON."""
        wall_ns = self._clock.wall_ns()
        with self._strips_lock:
            strips = self._strips.shown(wall_ns)
        with self._lock:
            told = statuses(self._promises.objectives, self._evaluator, self._evaluated_s)
            return {
                "at_s": wall_ns / 1e9, "figures": self._figures.shown(), "alerts": self._alerts(), "alerts_unknown": self._not_known(),
                "objectives": [_objective(one) for one in told], **strips,
            }  # fmt: skip

    def failed(self, part: str) -> None:
        """Count what is being handled, one of WATCH_PARTS, and say it the first time."""
        self._failures[part] += 1
        if self._failures[part] == 1:
            _log.exception("what is made of the counts is incomplete (%s); further failures are only counted", part)

    def _now_s(self) -> float:
        return (self._began_ns + self._clock.now_ns()) / 1e9

    def _take_up(self, promises: Promises | None) -> None:
        """Begin to evaluate these."""
        self._brought = None
        self._promises = promises or NO_PROMISES
        noted = self._evaluator.saved() or self._remembered()
        self._evaluator = Evaluator(self._promises.objectives, self._promises.windows)
        self._evaluator.resume(noted, self._now_s())
        self._due_s = self._evaluated_s = float("-inf")
        self._unknown = UNREAD if promises is None else None

    def _remembered(self) -> list[SavedSums]:
        try:
            return [] if self._memory is None else saved_sums.read(self._memory)
        except OSError:
            self.failed("memory")
            return []

    def _remember(self) -> None:
        """On the thread that looks, which alone changes what the evaluator has. Nothing noted is nothing known, and takes nothing's place."""
        try:
            if self._memory is not None and (noted := self._evaluator.saved()):
                saved_sums.write(self._memory, noted)
        except OSError:
            self.failed("memory")

    def _not_known(self) -> str | None:
        """Why nobody knows what fires, if so."""
        if self._unknown is not None:
            return self._unknown
        if self._evaluated_s == float("-inf"):
            return NOT_YET
        return LATE if self._now_s() - self._evaluated_s > LATE_S else None

    def _telling(self) -> list[Family]:
        """What it says of itself."""
        traces = [] if self._tracer is None else [*self._tracer.kept.items(), ("lost", self._tracer.lost)]
        spans = (
            [] if self._spans is None else [(name, getattr(self._spans, name)) for name in ("sent", "taken", "refused")]
        )
        return [
            plain(WATCH_FAILURES, [([part], count) for part, count in self._failures.items()]),
            plain(TRACES, [([result], count) for result, count in traces]), plain(SPANS, [([result], count) for result, count in spans]),
        ]  # fmt: skip

    def _evaluate(self, at_s: float) -> None:
        if self._promises is NO_PROMISES:
            return
        if len(self._look.counters) > MOST_COUNTERS:
            self._firing = []
            self._unknown = f"{len(self._look.counters)} series are too many to evaluate here (at most {MOST_COUNTERS}); run a Prometheus"
            self._due_s = at_s + EVALUATE_S
            return
        wall_s = self._clock.wall_ns() / 1e9
        self._evaluator.read(
            at_s, {name: float(value) for name, value in self._look.counters.items()}, self._look.gauges
        )
        self._firing = self._evaluator.evaluate(at_s, maintained(self._promises.announced, wall_s))
        now = {(one.alert, one.severity, one.labels) for one in self._firing}
        self._since_s = {name: self._since_s.get(name, wall_s) for name in now}
        self._evaluated_s, self._due_s, self._unknown = at_s, at_s + EVALUATE_S, None

    def _read(self, counts: Counts) -> tuple[dict[Counter, int], dict[str, Any], dict[Place, Any], set[Labels]]:
        now_ns = self._clock.wall_ns()
        counted = counters(self._promises.objectives, tallies(counts))
        return counted, readings(counts, now_ns), usage(counts, now_ns), ran(counts, SPAN_S, now_ns)

    def _alerts(self) -> list[dict[str, Any]]:
        """What fires, pages first; a ticket is silent while its model pages for the same, as Alertmanager inhibits it."""
        paging = {(one.alert, one.labels) for one in self._firing if one.severity == "page"}
        named = {one.alert: one for one in self._promises.objectives}
        shown = [one for one in self._firing if one.severity == "page" or (one.alert, one.labels[:5]) not in paging]
        return [
            {
                "alert": one.alert, "title": named[one.alert].title, "severity": one.severity, "model": one.labels[0],
                "version": one.labels[1], "variant": one.labels[2], "shard": one.labels[5] if len(one.labels) > 5 else None, "value": one.value,
                "since_s": self._since_s[one.alert, one.severity, one.labels], "runbook": f"{self._promises.runbooks or CONSOLE_RUNBOOKS}/{one.alert}.md",
            }
            for one in sorted(shown, key=lambda one: one.severity)
        ]  # fmt: skip


def _prices(ran: set[Labels], spent: dict[Place, Spent | None]) -> dict[Labels, float]:
    """What tokens cost, under the labels of everything that ran within the span."""
    found: dict[Labels, float] = {}
    for model in ran:
        money = spent.get(Place(model[0], model[4]))
        if money is not None and money.per_1k_tokens is not None:
            found[model] = money.per_1k_tokens
    return found


def _objective(standing: Status) -> dict[str, Any]:
    objective: AnyObjective = standing.objective
    kind = "ratio" if isinstance(objective, Ratio) else "zero" if isinstance(objective, Zero) else "value"
    model, version, variant = (None, None, None) if standing.model is None else standing.model[:3]
    return {
        "name": objective.name, "title": objective.title, "says": objective.says,
        "kind": kind if standing.model is not None else "none", "model": model, "version": version, "variant": variant,
        "burn": standing.burns, "left": standing.left, "kept": standing.kept, "told": standing.told,
    }  # fmt: skip
