"""Turns the log's records into traces: gathers a request's records until it ends, then keeps the whole trace or none.

Runs in the meter, away from the token path. It knows no OpenTelemetry.
"""

from collections.abc import Callable

import msgspec

from calmops.messages.record import Closed, FrameRecord, Opened, Record
from calmops.tracing.context import TraceContext, begin, parse
from calmops.tracing.exemplars import Exemplars
from calmops.tracing.request_trace import RequestTrace
from calmops.tracing.spans import Span
from calmops.tracing.trace_selection import TailSampler

MAX_LIVE = 10_000  # requests gathered at once; above it the one that is open longest is dropped and counted as lost


def context_of(opened: Opened) -> TraceContext:
    """Return the trace context of a request."""
    return begin(opened.request_id, opened.at_ns, parse(opened.traceparent))


class Tracer:
    """Gathers records and sends kept traces. Owned by one thread; ``kept`` and ``lost`` count traces."""

    def __init__(self, sampler: TailSampler, send: Callable[[list[Span]], None], max_live: int = MAX_LIVE) -> None:
        """Start without requests. ``send`` takes the spans of a kept trace and doesn't wait."""
        self.exemplars = Exemplars()
        self._sampler = sampler
        self._send = send
        self._max_live = max_live
        self._live: dict[str, RequestTrace] = {}
        self._crowded_out: dict[str, None] = {}  # dropped requests, counted as lost already
        self.kept: dict[str, int] = {}  # by the reason to keep them
        self.lost = 0

    def see(self, record: Record) -> None:
        """Take one record of the log."""
        if type(record) is FrameRecord:
            for share in record.sequences:
                trace = self._live.get(share.request_id)
                if trace is not None:
                    trace.step(record, share)
        elif type(record) is Opened:
            if len(self._live) >= self._max_live:
                self._make_room()
            self._live[record.request_id] = RequestTrace(record, context_of(record))
        elif type(record) is Closed:
            self._close(record)

    def _make_room(self) -> None:
        crowded_out = next(iter(self._live))
        del self._live[crowded_out]
        self.lost += 1
        self._crowded_out[crowded_out] = None
        if len(self._crowded_out) > self._max_live:
            del self._crowded_out[next(iter(self._crowded_out))]

    def _close(self, closed: Closed) -> None:
        trace = self._live.pop(closed.request_id, None)
        if trace is None:
            if closed.request_id not in self._crowded_out:
                # It began before this process did. A refused request, without an attempt, never began.
                self.lost += closed.attempts > 0
            return
        reason = self._sampler.keep(closed, trace.context)
        if reason is None:
            return
        self.kept[reason] = self.kept.get(reason, 0) + 1
        self.exemplars.note(closed, trace.context.trace_id, trace.longest_gap_ns)
        request, *children = trace.spans(closed)
        request = msgspec.structs.replace(request, attributes=request.attributes | {"calmops.kept": reason})
        self._send([request, *children])
