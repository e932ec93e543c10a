"""Describes an OpenSLO v1 document field by field. Knows OpenSLO's words; openslo.py knows what they mean here.

OpenSLO takes only targets under 1 and has no word for how long a value may be out of bounds. So a zero and a value are
documents of the same shape with ``apiVersion: calmops/v1``: ``objectives: [{most: 0}]`` or ``[{op, value, lasting}]``.
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
    """Holds the annotations that every objective needs; their keys begin with ``calmops.dev/``."""

    alert: Annotated[str, Meta(pattern=ALERT_NAME, description="the alert's name, and its runbook's: TokenLatencyHigh")]
    severity: Annotated[Literal["page", "ticket"], Meta(description="page or ticket")]
    team: Text
    escalation: Text
    least_events: Annotated[str, Meta(pattern="^[0-9]+$", description="a whole number in quotes, as OpenSLO asks")] = (
        "100"
    )


class Metadata(Struct, frozen=True, kw_only=True):
    """Holds a document's name and its annotations."""

    name: Name
    displayName: Text  # noqa: N815  OpenSLO's word
    annotations: dict[str, str]
    labels: dict[str, str | list[str]] = {}


class EventsSpec(Struct, frozen=True, kw_only=True):
    """Names the events, and how long a good one may take."""

    events: Events
    within_s: Annotated[float, Meta(gt=0, description="seconds; an edge of the metric's buckets")] | None = None


class EventsSource(Struct, frozen=True, kw_only=True):
    """Wraps a specification of events that calmops' meter counts."""

    type: Annotated[Literal["calmops"], Meta(description="calmops: its meter counts good and bad events at the source")]
    spec: EventsSpec


class GaugeSpec(Struct, frozen=True, kw_only=True):
    """Names the gauge."""

    gauge: Text


class GaugeSource(Struct, frozen=True, kw_only=True):
    """Wraps the name of a gauge that calmops' meter shows."""

    type: Annotated[Literal["calmops"], Meta(description="calmops")]
    spec: GaugeSpec


class EventsPart(Struct, frozen=True, kw_only=True):
    """Holds ``good`` or ``total`` of a ratio."""

    metricSource: EventsSource  # noqa: N815  OpenSLO's word


class GaugePart(Struct, frozen=True, kw_only=True):
    """Holds ``thresholdMetric`` of a value."""

    metricSource: GaugeSource  # noqa: N815  OpenSLO's word


class RatioMetric(Struct, frozen=True, kw_only=True):
    """Divides good events by all events."""

    counter: Annotated[bool, Meta(description="true: they are counters")]
    good: EventsPart
    total: EventsPart


class IndicatorSpec(Struct, frozen=True, kw_only=True):
    """Holds one of the two: a ratio of events, or a gauge."""

    ratioMetric: RatioMetric | None = None  # noqa: N815  OpenSLO's word
    thresholdMetric: GaugePart | None = None  # noqa: N815  OpenSLO's word


class IndicatorName(Struct, frozen=True, kw_only=True):
    """Holds an inline indicator's name."""

    name: Name


class Indicator(Struct, frozen=True, kw_only=True):
    """Says how an objective is measured."""

    metadata: IndicatorName
    spec: IndicatorSpec


class TimeWindow(Struct, frozen=True, kw_only=True):
    """Holds the budget's period."""

    duration: Span
    isRolling: Annotated[  # noqa: N815  OpenSLO's word
        bool, Meta(description="true: calendar periods aren't supported")
    ]


class Goal(Struct, frozen=True, kw_only=True):
    """Holds an entry of ``objectives``: target (a ratio), most (a zero), or op, value and lasting (a value)."""

    displayName: str = ""  # noqa: N815  OpenSLO's word
    target: Annotated[
        Annotated[float, Meta(gt=0, lt=1)] | None,
        Meta(description="a share between 0 and 1; for no bad event at all see `most`"),
    ] = None
    most: Annotated[Annotated[int, Meta(ge=0, le=0)] | None, Meta(description="0: no bad event")] = None
    op: Annotated[
        Literal["lt", "lte", "gt", "gte"] | None, Meta(description="how the value should compare to the bound")
    ] = None
    value: Annotated[float | None, Meta(description="the bound")] = None
    lasting: Annotated[str | None, Meta(description="how long it may be out of bounds: 15m")] = None


class Spec(Struct, frozen=True, kw_only=True):
    """Says what is promised, and how it is measured."""

    description: Text
    service: Name
    indicator: Indicator
    timeWindow: tuple[TimeWindow, ...]  # noqa: N815  OpenSLO's word
    budgetingMethod: Annotated[  # noqa: N815  OpenSLO\'s word
        Literal["Occurrences"], Meta(description="Occurrences: every event weighs the same")
    ]
    objectives: tuple[Goal, ...]


class Document(Struct, frozen=True, kw_only=True):
    """Holds the content of one objective's file."""

    apiVersion: Annotated[  # noqa: N815  OpenSLO's word
        Literal["openslo/v1", "calmops/v1"],
        Meta(description="openslo/v1 for a target, calmops/v1 for a zero or a value"),
    ]
    kind: Annotated[Literal["SLO"], Meta(description="SLO")]
    metadata: Metadata
    spec: Spec
