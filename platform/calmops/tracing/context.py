"""W3C trace context: whose trace a request belongs to. Source: https://www.w3.org/TR/trace-context/, level 1."""

import hashlib
import re
from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import unquote

TRACEPARENT = re.compile(r"^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$")
TRACE_BYTES, SPAN_BYTES = 16, 8
SAMPLED = 1
MOST_BAGGAGE = 8192  # bytes; the standard asks for no more


class TraceContext(NamedTuple):
    """The trace, the caller's span in it (0: the trace begins here), and whether the caller keeps it."""

    trace_id: int  # 128 bits, not 0
    parent_id: int  # 64 bits
    sampled: bool


def parse(traceparent: str | None) -> TraceContext | None:
    """A caller's traceparent header; None where there is none, or none that the standard allows."""
    match = TRACEPARENT.match(traceparent or "")
    if match is None:
        return None
    trace_id, parent_id, flags = (int(group, 16) for group in match.groups())
    return TraceContext(trace_id, parent_id, bool(flags & SAMPLED)) if trace_id and parent_id else None


def parse_baggage(header: str | None, keys: Collection[str]) -> dict[str, str]:
    """What a caller's baggage header says under these keys. Source: https://www.w3.org/TR/baggage/."""
    if not header or not keys or len(header) > MOST_BAGGAGE:
        return {}
    members = (member.partition(";")[0].partition("=") for member in header.split(","))
    return {name: unquote(value.strip()) for key, _, value in members if (name := key.strip()) in keys}


def begin(request_id: str, at_ns: int) -> TraceContext:
    """A trace of our own. The same request gives the same one, so that records read twice make no second trace."""
    return TraceContext(_number(f"{request_id}/{at_ns}", TRACE_BYTES), 0, sampled=False)


def span_id(trace_id: int, name: str) -> int:
    """A span's id, the same whenever it is made: 64 bits, not 0."""
    return _number(f"{trace_id:032x}/{name}", SPAN_BYTES)


def traceparent(trace_id: int, span: int, *, sampled: bool) -> str:
    """The header that says so to whom we answer or call."""
    return f"00-{trace_id:032x}-{span:016x}-{SAMPLED if sampled else 0:02x}"


def handed_on(header: str | None) -> str | None:
    """A caller's traceparent header as version 00 writes it, 55 characters; None for one that the standard doesn't allow."""
    context = parse(header)
    return None if context is None else traceparent(context.trace_id, context.parent_id, sampled=context.sampled)


def _number(text: str, size: int) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest(), "big") or 1
