"""An OpenSLO v1 document as records, field by field. Knows OpenSLO's words, not what they mean here: openslo.py does.

OpenSLO takes targets below 1 only and has no word for how long a value may be out of bounds. So a zero and a value are
documents of the same shape under ``apiVersion: calmops/v1``: ``objectives: [{most: 0}]`` and ``[{op, value, lasting}]``.
Source: github.com/OpenSLO/OpenSLO, README of v1.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from calmops.objectives.promises.windows import Span

ALERT_NAME = "^[A-Z][A-Za-z0-9]+$"

Name = Annotated[
    str, Meta(pattern="^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="small letters, digits and -, at most 63")
]
Text = Annotated[str, Meta(min_length=1, description="text")]
Events = Annotated[
    Literal[
        "inter_token_latency", "time_to_first_token", "requests", "tokenizations", "pii_scans", "telemetry_records"
    ],
    Meta(description="what the meter counts"),
]


class Annotations(Struct, frozen=True, kw_only=True):
    """Those that every objective needs; their keys stand under ``calmops.dev/``."""

    alert: Annotated[str, Meta(pattern=ALERT_NAME, description="the alert's name, and its runbook's: TokenLatencyHigh")]
    severity: Annotated[Literal["page", "ticket"], Meta(description="page or ticket")]
    team: Text
    escalation: Text
    least_events: Annotated[str, Meta(pattern="^[0-9]+$", description="a whole number in quotes, as OpenSLO asks")] = (
        "100"
    )


class Metadata(Struct, frozen=True, kw_only=True):
    """A document's name, and what we add to it."""

    name: Name
    displayName: Text
    annotations: dict[str, str]
    labels: dict[str, str | list[str]] = {}


class EventsSpec(Struct, frozen=True, kw_only=True):
    """Which events."""

    events: Events
    within_s: Annotated[float, Meta(gt=0, description="seconds; an edge of the metric's buckets")] | None = None


class EventsSource(Struct, frozen=True, kw_only=True):
    """Events that calmops' meter counts."""

    type: Annotated[Literal["calmops"], Meta(description="calmops: its meter counts good and bad events at the source")]
    spec: EventsSpec


class GaugeSpec(Struct, frozen=True, kw_only=True):
    """Which gauge."""

    gauge: Text


class GaugeSource(Struct, frozen=True, kw_only=True):
    """A gauge that calmops' meter shows."""

    type: Annotated[Literal["calmops"], Meta(description="calmops")]
    spec: GaugeSpec


class EventsPart(Struct, frozen=True, kw_only=True):
    """``good`` or ``total``."""

    metricSource: EventsSource


class GaugePart(Struct, frozen=True, kw_only=True):
    """``thresholdMetric``."""

    metricSource: GaugeSource


class RatioMetric(Struct, frozen=True, kw_only=True):
    """Good over total."""

    counter: Annotated[bool, Meta(description="true: they are counters")]
    good: EventsPart
    total: EventsPart


class IndicatorSpec(Struct, frozen=True, kw_only=True):
    """One of the two."""

    ratioMetric: RatioMetric | None = None
    thresholdMetric: GaugePart | None = None


class IndicatorName(Struct, frozen=True, kw_only=True):
    """An inline indicator's name."""

    name: Name


class Indicator(Struct, frozen=True, kw_only=True):
    """How it is measured."""

    metadata: IndicatorName
    spec: IndicatorSpec


class TimeWindow(Struct, frozen=True, kw_only=True):
    """The budget's period."""

    duration: Span
    isRolling: Annotated[bool, Meta(description="true: calendar periods aren't supported")]


class Goal(Struct, frozen=True, kw_only=True):
    """``objectives``: one of target (a ratio), most (a zero), or op, value and lasting (a value)."""

    displayName: str = ""
    target: Annotated[
        Annotated[float, Meta(gt=0, lt=1)] | None,
        Meta(description="a share between 0 and 1; for no bad event at all see `most`"),
    ] = None
    most: Annotated[Annotated[int, Meta(ge=0, le=0)] | None, Meta(description="0: no bad event")] = None
    op: Annotated[
        Literal["lt", "lte", "gt", "gte"] | None, Meta(description="how the value should stand to the bound")
    ] = None
    value: Annotated[float | None, Meta(description="the bound")] = None
    lasting: Annotated[str | None, Meta(description="how long it may be out of bounds: 15m")] = None


class Spec(Struct, frozen=True, kw_only=True):
    """What is promised."""

    description: Text
    service: Name
    indicator: Indicator
    timeWindow: tuple[TimeWindow, ...]
    budgetingMethod: Annotated[Literal["Occurrences"], Meta(description="Occurrences: every event weighs the same")]
    objectives: tuple[Goal, ...]


class Document(Struct, frozen=True, kw_only=True):
    """One file."""

    apiVersion: Annotated[
        Literal["openslo/v1", "calmops/v1"],
        Meta(description="openslo/v1 for a target, calmops/v1 for a zero or a value"),
    ]
    kind: Annotated[Literal["SLO"], Meta(description="SLO")]
    metadata: Metadata
    spec: Spec
