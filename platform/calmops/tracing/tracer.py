"""The log's records to kept traces: one request's records are gathered until it ended, then kept whole or not at all."""

from collections.abc import Callable

import msgspec

from calmops.messages.record import Closed, FrameRecord, Opened, Record
from calmops.tracing.context import TraceContext, begin, parse
from calmops.tracing.exemplars import Exemplars
from calmops.tracing.request_trace import RequestTrace
from calmops.tracing.spans import Span
from calmops.tracing.trace_selection import TailSampler

MOST_LIVE = 10_000  # requests gathered at once; the longest open one makes room, and is counted as lost


def of_request(opened: Opened) -> TraceContext:
    """The trace that a request belongs to."""
    return begin(opened.request_id, opened.at_ns, parse(opened.traceparent))


class Tracer:
    """Owned by one thread. ``kept`` and ``lost`` count traces."""

    def __init__(self, sampler: TailSampler, send: Callable[[list[Span]], None], most_live: int = MOST_LIVE) -> None:
        """``send`` takes the spans of a kept trace and doesn't wait."""
        self.exemplars = Exemplars()
        self._sampler = sampler
        self._send = send
        self._most_live = most_live
        self._live: dict[str, RequestTrace] = {}
        self._crowded_out: dict[str, None] = {}  # counted as lost already
        self.kept: dict[str, int] = {}  # by why
        self.lost = 0

    def see(self, record: Record) -> None:
        """One record of the log."""
        if type(record) is FrameRecord:
            for share in record.sequences:
                trace = self._live.get(share.request_id)
                if trace is not None:
                    trace.step(record, share)
        elif type(record) is Opened:
            if len(self._live) >= self._most_live:
                self._make_room()
            self._live[record.request_id] = RequestTrace(record, of_request(record))
        elif type(record) is Closed:
            self._close(record)

    def _make_room(self) -> None:
        crowded_out = next(iter(self._live))
        del self._live[crowded_out]
        self.lost += 1
        self._crowded_out[crowded_out] = None
        if len(self._crowded_out) > self._most_live:
            del self._crowded_out[next(iter(self._crowded_out))]

    def _close(self, closed: Closed) -> None:
        trace = self._live.pop(closed.request_id, None)
        if trace is None:
            if closed.request_id not in self._crowded_out:
                self.lost += closed.attempts > 0  # it began before this process did; one that was refused never began
            return
        why = self._sampler.keep(closed, trace.context)
        if why is None:
            return
        self.kept[why] = self.kept.get(why, 0) + 1
        self.exemplars.note(closed, trace.context.trace_id, trace.longest_gap_ns)
        request, *beneath = trace.spans(closed)
        self._send([msgspec.structs.replace(request, attributes=request.attributes | {"calmops.kept": why}), *beneath])
