"""Defines the three kinds of objective: ratio, zero and value.

They stand where the way of a token ends, and know neither YAML nor PromQL.
A ratio has a budget of bad events, which burns. A zero allows no bad event. A value must stay on its side of a bound.
The meter counts events at the source, each as good or bad, under the labels below.
"""

from typing import Literal

from msgspec import Struct

from calmops.foundation.metric_names import COST, INTER_TOKEN_EDGES_S, OBJECTIVE_EVENTS, TTFT_EDGES_S
from calmops.foundation.model_labels import SHARD_LABELS

LABELS = SHARD_LABELS
EVENTS_SERIES = OBJECTIVE_EVENTS.name

# What the meter can count, and the histogram edges at which it can distinguish a quick event from a slow one.
COUNTED: dict[str, tuple[float, ...]] = {
    "inter_token_latency": INTER_TOKEN_EDGES_S,
    "time_to_first_token": TTFT_EDGES_S,
    "requests": (),
    "tokenizations": (),
    "pii_scans": (),
    "telemetry_records": (),
}
GAUGES = (COST.name,)

Severity = Literal["page", "ticket"]


class Source(Struct, frozen=True, kw_only=True):
    """Names the events that are counted. A good one takes at most ``within_s`` seconds or, if None, ends well."""

    events: str  # a key of COUNTED
    within_s: float | None = None


class Objective(Struct, frozen=True, kw_only=True):
    """Holds what every kind of objective has.

    ``alert`` is also the name of its runbook; ``team`` and ``escalation`` become routes.
    """

    name: str
    title: str
    says: str
    alert: str
    severity: Severity
    team: str
    escalation: str


class Ratio(Objective, frozen=True, kw_only=True):
    """Promises that at least ``target`` of the events are good over a rolling ``period_s``.

    Fewer than ``least_events`` events in a window never alert.
    """

    source: Source
    target: float  # within (0, 1)
    period_s: int
    least_events: int

    @property
    def budget(self) -> float:
        """Return the share of events that may be bad."""
        return 1.0 - self.target


class Zero(Objective, frozen=True, kw_only=True):
    """Promises that no event is bad."""

    source: Source


class Value(Objective, frozen=True, kw_only=True):
    """Promises that a gauge stays on its side of a bound; once it is past the bound for ``for_s``, it alerts."""

    gauge: str  # one of GAUGES
    op: Literal["lt", "lte", "gt", "gte"]  # how the gauge must compare to the bound
    bound: float
    for_s: int


AnyObjective = Ratio | Zero | Value
