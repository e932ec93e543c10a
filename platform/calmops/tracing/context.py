"""Reads and writes W3C trace context: the headers that say which trace a request belongs to.

The gateway uses it when a request comes and when its answer goes, the tracer when it reads the log. It knows no span.
Source: https://www.w3.org/TR/trace-context/, level 1.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote

TRACEPARENT = re.compile(r"^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$")
STATE_KEY = re.compile(r"[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}")

# Printable ASCII without comma and equals sign, and no space at its end.
STATE_VALUE = re.compile(r"[ -+\--<>-~]{0,255}[!-+\--<>-~]")

TRACE_BYTES, SPAN_BYTES = 16, 8
SAMPLED = 1

# The standards ask for no more.
MAX_BAGGAGE_BYTES = 8192
MAX_TRACESTATE_CHARS = 512
MAX_TRACESTATE_MEMBERS = 32


class Caller(NamedTuple):
    """Holds what a caller's traceparent says: its trace, its span in it, and whether it keeps the trace."""

    trace_id: int  # 128 bits, not 0
    span_id: int  # 64 bits, not 0
    sampled: bool


class TraceContext(NamedTuple):
    """Holds a request's trace, its own span in it, and its caller's."""

    trace_id: int
    span_id: int  # the request's
    parent_id: int  # the caller's span; 0: the trace begins with this request
    sampled: bool  # the caller keeps the trace

    def child_span_id(self, name: str) -> int:
        """Return the id of a span under the request's. The same ``name``, unique in the request, gives the same id."""
        return _number(f"{self.trace_id:032x}/{self.span_id:016x}/{name}", SPAN_BYTES)

    @property
    def header(self) -> str:
        """Return the traceparent header for the answer."""
        return traceparent(self.trace_id, self.span_id, sampled=self.sampled)


def parse(traceparent: str | None) -> Caller | None:
    """Parse a caller's traceparent header; None where there is none, or none that the standard allows."""
    match = TRACEPARENT.match(traceparent or "")
    if match is None:
        return None
    trace_id, span_id, flags = (int(group, 16) for group in match.groups())
    return Caller(trace_id, span_id, bool(flags & SAMPLED)) if trace_id and span_id else None


def parse_baggage(header: str | None, keys: Collection[str]) -> dict[str, str]:
    """Return the values of these keys in a caller's baggage header. Source: https://www.w3.org/TR/baggage/."""
    if not header or not keys or len(header) > MAX_BAGGAGE_BYTES:
        return {}
    members = (member.partition(";")[0].partition("=") for member in header.split(","))
    return {name: unquote(value.strip()) for key, _, value in members if (name := key.strip()) in keys}


def baggage_header(baggage: Mapping[str, str]) -> str:
    """Write baggage as its header."""
    return ",".join(f"{key}={quote(value, safe='')}" for key, value in baggage.items())


def begin(request_id: str, at_ns: int, caller: Caller | None = None) -> TraceContext:
    """Return the context of a request: in its caller's trace, or in a trace of its own.

    The same request always gives the same ids, so that records read twice make no second trace. Another request gives
    other ids.
    """
    request = f"{request_id}/{at_ns}"
    if caller is None:
        caller = Caller(_number(request, TRACE_BYTES), 0, sampled=False)
    return TraceContext(
        caller.trace_id, _number(f"{caller.trace_id:032x}/{request}", SPAN_BYTES), caller.span_id, caller.sampled
    )


def traceparent(trace_id: int, span: int, *, sampled: bool) -> str:
    """Write a traceparent header, for an answer or a call."""
    return f"00-{trace_id:032x}-{span:016x}-{SAMPLED if sampled else 0:02x}"


def forwarded_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return a caller's traceparent, as version 00 writes it (55 characters), and its tracestate.

    A header that the standard doesn't allow is left out; without a traceparent both are.
    """
    caller, state = parse(headers.get("traceparent")), headers.get("tracestate", "")
    if caller is None:
        return {}
    forwarded = {"traceparent": traceparent(*caller[:2], sampled=caller.sampled)}
    return forwarded | {"tracestate": state} if _is_tracestate(state) else forwarded


def _is_tracestate(header: str) -> bool:
    """Return whether the standard allows the header as a whole."""
    members = [member.strip(" \t").partition("=") for member in header.split(",")]
    keys = {key for key, _, value in members if STATE_KEY.fullmatch(key) and STATE_VALUE.fullmatch(value)}
    return len(header) <= MAX_TRACESTATE_CHARS and len(keys) == len(members) <= MAX_TRACESTATE_MEMBERS


def _number(text: str, size: int) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest(), "big") or 1
