"""W3C trace context: whose trace a request belongs to. Source: https://www.w3.org/TR/trace-context/, level 1."""

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote

TRACEPARENT = re.compile(r"^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$")
STATE_KEY = re.compile(r"[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}")
STATE_VALUE = re.compile(
    r"[ -+\--<>-~]{0,255}[!-+\--<>-~]"
)  # printable ASCII without comma and equals sign, no space at its end
TRACE_BYTES, SPAN_BYTES = 16, 8
SAMPLED = 1
MOST_BAGGAGE = 8192  # bytes; the standard asks for no more
MOST_TRACESTATE, MOST_STATES = 512, 32  # characters, likewise, and members


class Caller(NamedTuple):
    """What a caller's traceparent says: its trace, its span in it, and whether it keeps the trace."""

    trace_id: int  # 128 bits, not 0
    span_id: int  # 64 bits, not 0
    sampled: bool


class TraceContext(NamedTuple):
    """The trace that a request belongs to, its own span in it, the caller's (0: the trace begins here), and whether the caller keeps it."""

    trace_id: int
    span_id: int
    parent_id: int
    sampled: bool

    def beneath(self, name: str) -> int:
        """The id of a span beneath the request's, the same whenever it is made. ``name`` is its own within the request."""
        return _number(f"{self.trace_id:032x}/{self.span_id:016x}/{name}", SPAN_BYTES)

    @property
    def header(self) -> str:
        """The traceparent that says so to whom we answer."""
        return traceparent(self.trace_id, self.span_id, sampled=self.sampled)


def parse(traceparent: str | None) -> Caller | None:
    """A caller's traceparent header; None where there is none, or none that the standard allows."""
    match = TRACEPARENT.match(traceparent or "")
    if match is None:
        return None
    trace_id, span_id, flags = (int(group, 16) for group in match.groups())
    return Caller(trace_id, span_id, bool(flags & SAMPLED)) if trace_id and span_id else None


def parse_baggage(header: str | None, keys: Collection[str]) -> dict[str, str]:
    """What a caller's baggage header says under these keys. Source: https://www.w3.org/TR/baggage/."""
    if not header or not keys or len(header) > MOST_BAGGAGE:
        return {}
    members = (member.partition(";")[0].partition("=") for member in header.split(","))
    return {name: unquote(value.strip()) for key, _, value in members if (name := key.strip()) in keys}


def baggage_header(kept: Mapping[str, str]) -> str:
    """What was kept, as the header says it."""
    return ",".join(f"{key}={quote(value, safe='')}" for key, value in kept.items())


def begin(request_id: str, at_ns: int, caller: Caller | None = None) -> TraceContext:
    """The caller's trace, or one of our own.

    The same request gives the same ids, so that records read twice make no second trace; another one gives others.
    """
    request = f"{request_id}/{at_ns}"
    if caller is None:
        caller = Caller(_number(request, TRACE_BYTES), 0, sampled=False)
    return TraceContext(
        caller.trace_id, _number(f"{caller.trace_id:032x}/{request}", SPAN_BYTES), caller.span_id, caller.sampled
    )


def traceparent(trace_id: int, span: int, *, sampled: bool) -> str:
    """The header that says so to whom we answer or call."""
    return f"00-{trace_id:032x}-{span:016x}-{SAMPLED if sampled else 0:02x}"


def handed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """Of a caller's headers its traceparent as version 00 writes it, 55 characters, and its tracestate; nothing that the standard doesn't allow."""
    caller, state = parse(headers.get("traceparent")), headers.get("tracestate", "")
    if caller is None:
        return {}
    found = {"traceparent": traceparent(*caller[:2], sampled=caller.sampled)}
    return found | {"tracestate": state} if _is_tracestate(state) else found


def _is_tracestate(header: str) -> bool:
    """Whether the standard allows it: one that it doesn't is left out whole."""
    members = [member.strip(" \t").partition("=") for member in header.split(",")]
    keys = {key for key, _, value in members if STATE_KEY.fullmatch(key) and STATE_VALUE.fullmatch(value)}
    return len(header) <= MOST_TRACESTATE and len(keys) == len(members) <= MOST_STATES


def _number(text: str, size: int) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest(), "big") or 1
