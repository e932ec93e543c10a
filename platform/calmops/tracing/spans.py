"""What a span is, before any vendor's form of it."""

from enum import StrEnum

from msgspec import Struct

Attribute = str | bool | int | float | tuple[int, ...] | tuple[float, ...]


class Name(StrEnum):
    """Every span that we make."""

    REQUEST = "request"
    QUEUE = "queue"
    PREFILL = "prefill"
    DECODE = "decode"


class SpanEvent(Struct, frozen=True, kw_only=True):
    """A moment within a span."""

    name: str
    at_ns: int  # wall
    attributes: dict[str, Attribute] = {}


class Span(Struct, frozen=True, kw_only=True):
    """One stretch of a request's life. ``parent_id`` 0: the trace begins with it."""

    trace_id: int
    span_id: int
    parent_id: int
    name: str
    start_ns: int  # wall
    end_ns: int  # wall
    attributes: dict[str, Attribute]
    events: tuple[SpanEvent, ...] = ()
    error: str | None = None
    tracestate: str | None = None  # what other vendors said of the trace, in W3C's form
