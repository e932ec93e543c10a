"""Sends spans through OTLP over HTTP, on a thread of its own: the last step of a trace. ``send`` never waits.

Only this file knows OpenTelemetry's SDK. It knows no record and no request.
"""

from collections.abc import Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

import calmops
from calmops.tracing.spans import Name, Span

QUEUED_SPANS = 8192  # while the receiver is away; above it the oldest are dropped
EVERY_MS = 1000.0
TIMEOUT_S = 10.0
SCOPE = InstrumentationScope("calmops", calmops.__version__)


class OtlpTraces:
    """Sends spans to one OTLP receiver and counts what it took. One thread sends; any thread may read the counts."""

    def __init__(self, endpoint: str, resource: Mapping[str, str]) -> None:
        """Send to ``endpoint``, a whole URL such as http://127.0.0.1:4318/v1/traces.

        ``resource``: attributes that say where the spans come from. The SDK reads headers, which may hold a secret,
        from its own variable, OTEL_EXPORTER_OTLP_HEADERS.
        """
        self._exporter = _CountingExporter(OTLPSpanExporter(endpoint=endpoint, timeout=TIMEOUT_S))
        self._processor = BatchSpanProcessor(
            self._exporter, max_queue_size=QUEUED_SPANS, schedule_delay_millis=EVERY_MS
        )
        self._resource = Resource.create(
            {"service.name": "calmops", "service.version": calmops.__version__, **resource}
        )
        self.sent = 0

    def send(self, spans: Sequence[Span]) -> None:
        """Queue the spans of a trace."""
        for span in spans:
            self._processor.on_end(_readable(span, self._resource))
            self.sent += 1

    @property
    def taken(self) -> int:
        """Return how many spans the receiver took."""
        return self._exporter.taken

    @property
    def refused(self) -> int:
        """Return how many spans the receiver didn't take, after every retry."""
        return self._exporter.refused

    def close(self) -> None:
        """Send the queued spans and end the thread."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # untyped in the SDK


class _CountingExporter(SpanExporter):
    """Counts which spans an exporter delivered and which it didn't."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.taken = self.refused = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.taken += len(spans)
        else:
            self.refused += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _readable(span: Span, resource: Resource) -> ReadableSpan:
    """Convert a span to the SDK's. Only the request's parent, the caller's span, comes from another process."""
    is_request = span.name == Name.REQUEST
    state = TraceState.from_header([span.tracestate or ""])
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id, state, remote=False),
        parent=_context(span.trace_id, span.parent_id, state, remote=is_request) if span.parent_id else None,
        resource=resource,
        attributes=span.attributes,
        events=[Event(event.name, event.attributes, event.at_ns) for event in span.events],
        kind=SpanKind.SERVER if is_request else SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=SCOPE,
    )


def _context(trace_id: int, span_id: int, state: TraceState, *, remote: bool) -> SpanContext:
    return SpanContext(
        trace_id, span_id, is_remote=remote, trace_flags=TraceFlags(TraceFlags.SAMPLED), trace_state=state
    )
