"""Defines spans, between a request's records and OTLP. Knows no vendor's form of them."""

from enum import StrEnum

from msgspec import Struct

Attribute = str | bool | int | float | tuple[int, ...] | tuple[float, ...]


class Name(StrEnum):
    """Names every span that calmops makes."""

    REQUEST = "request"
    QUEUE = "queue"
    PREFILL = "prefill"
    DECODE = "decode"


class SpanEvent(Struct, frozen=True, kw_only=True):
    """Holds one moment within a span."""

    name: str
    at_ns: int  # wall clock
    attributes: dict[str, Attribute] = {}


class Span(Struct, frozen=True, kw_only=True):
    """Holds one stretch of a request's life. A trace begins with the span whose ``parent_id`` is 0."""

    trace_id: int
    span_id: int
    parent_id: int
    name: str
    start_ns: int  # wall clock
    end_ns: int  # wall clock
    attributes: dict[str, Attribute]
    events: tuple[SpanEvent, ...] = ()
    error: str | None = None
    tracestate: str | None = None  # what other vendors say about the trace, in W3C's form
