"""Makes metrics of what is judged beside the counts: objectives' events, costs, the watcher's own failures. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from prometheus_client.metrics_core import Metric as Family

from calmops.foundation.metric_names import COST, OBJECTIVE_EVENTS, SPANS, SPENDING, TRACES, WATCH_FAILURES
from calmops.foundation.model_labels import ModelLabels, ModelPlace
from calmops.objectives.evaluation.costs import Spent
from calmops.objectives.evaluation.event_counters import Counter
from calmops.telemetry.exposition.prometheus import plain
from calmops.tracing.tracer import Tracer


class SpanCounts(Protocol):
    """Counts what became of spans."""

    sent: int

    @property
    def taken(self) -> int: ...

    @property
    def refused(self) -> int: ...


class Reading(NamedTuple):
    """Holds one reading of the counts, judged."""

    counters: Mapping[Counter, int]
    costs: Mapping[ModelLabels, float]  # per 1,000 delivered tokens
    spent: Mapping[ModelPlace, Spent | None]

    @property
    def gauges(self) -> Mapping[str, Mapping[ModelLabels, float]]:
        """The gauges that objectives may bound, by name."""
        return {COST.name: self.costs}


NOTHING_READ = Reading({}, {}, {})


def priced(ran: set[ModelLabels], spent: Mapping[ModelPlace, Spent | None]) -> dict[ModelLabels, float]:
    """Return what 1,000 delivered tokens cost, for every label set that ran within the span."""
    prices: dict[ModelLabels, float] = {}
    for labels in ran:
        money = spent.get(labels.place)
        if money is not None and money.per_1k_tokens is not None:
            prices[labels] = money.per_1k_tokens
    return prices


def judged_families(reading: Reading) -> Iterator[Family]:
    """Yield the families of events and costs."""
    events = sorted(reading.counters.items())
    spending = [
        ([*place, pricing], money)
        for place, spent in sorted(reading.spent.items())
        if spent is not None
        for pricing, money in sorted(spent.per_hour.items())
    ]
    yield plain(OBJECTIVE_EVENTS, [([name.objective, *name.labels.values, name.result], n) for name, n in events])
    yield plain(COST, [([*labels], value) for labels, value in sorted(reading.costs.items())])
    yield plain(SPENDING, spending)


def own_families(failures: Mapping[str, int], tracer: Tracer | None, spans: SpanCounts | None) -> Sequence[Family]:
    """Return the watcher's families about itself: failures by part, traces kept and lost, spans sent."""
    traces = [] if tracer is None else [*tracer.kept.items(), ("lost", tracer.lost)]
    ways = [] if spans is None else [(name, getattr(spans, name)) for name in ("sent", "taken", "refused")]
    return [
        plain(WATCH_FAILURES, [([part], count) for part, count in failures.items()]),
        plain(TRACES, [([result], count) for result, count in traces]),
        plain(SPANS, [([result], count) for result, count in ways]),
    ]
