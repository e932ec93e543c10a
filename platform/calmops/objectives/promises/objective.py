"""What is promised, whatever file it was written in. Where the way of a token ends: knows neither YAML nor PromQL.

A ratio has a budget of bad events, which burns; of a zero any bad event is one too many; a value must keep to its side of
a bound. Events are counted by the meter, at the source, each as good or bad, under the labels below.
"""

from typing import Literal

from msgspec import Struct

from calmops.foundation.metric_names import COST, INTER_TOKEN_EDGES_S, OBJECTIVE_EVENTS, TTFT_EDGES_S
from calmops.foundation.model_labels import SHARD_LABELS

LABELS = SHARD_LABELS
EVENTS_SERIES = OBJECTIVE_EVENTS.name

# What the meter can count, and the histogram edges at which it can tell a quick event from a slow one.
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
    """Which events are counted; ``within_s``: good ones take at most so long, seconds (None: they end well)."""

    events: str  # a key of COUNTED
    within_s: float | None = None


class Objective(Struct, frozen=True, kw_only=True):
    """What every kind has. ``alert`` is also the name of its runbook; ``team`` and ``escalation`` become routes."""

    name: str
    title: str
    says: str
    alert: str
    severity: Severity
    team: str
    escalation: str


class Ratio(Objective, frozen=True, kw_only=True):
    """At least ``target`` of the events are good, over a rolling ``period_s``; fewer than ``least_events`` say nothing."""

    source: Source
    target: float  # within (0, 1)
    period_s: int
    least_events: int

    @property
    def budget(self) -> float:
        """The share of events that may be bad."""
        return 1.0 - self.target


class Zero(Objective, frozen=True, kw_only=True):
    """No event is bad."""

    source: Source


class Value(Objective, frozen=True, kw_only=True):
    """A gauge keeps to its side of a bound; past it for ``for_s``, it alerts."""

    gauge: str  # one of GAUGES
    op: Literal["lt", "lte", "gt", "gte"]  # how the gauge must stand to the bound
    bound: float
    for_s: int


AnyObjective = Ratio | Zero | Value
