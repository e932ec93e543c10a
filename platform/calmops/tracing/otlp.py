"""Spans out through OTLP over HTTP: the one place that knows OpenTelemetry's SDK. Sends on a thread of its own; never waits."""

from collections.abc import Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

import calmops
from calmops.tracing.spans import Name, Span

QUEUED_SPANS = 8192  # more than these wait for a receiver that is away: the oldest are dropped
EVERY_MS = 1000.0
TIMEOUT_S = 10.0
SCOPE = InstrumentationScope("calmops", calmops.__version__)


class OtlpTraces:
    """A receiver of OTLP, and how many spans it took. ``send`` may be called from one thread, the counts read from any."""

    def __init__(self, endpoint: str, resource: Mapping[str, str]) -> None:
        """``endpoint``: the whole URL, as in http://127.0.0.1:4318/v1/traces; ``resource``: whose spans these are.

        Headers, which may hold a secret, come from the SDK's own variable, OTEL_EXPORTER_OTLP_HEADERS.
        """
        self._exporter = _Counting(OTLPSpanExporter(endpoint=endpoint, timeout=TIMEOUT_S))
        self._processor = BatchSpanProcessor(
            self._exporter, max_queue_size=QUEUED_SPANS, schedule_delay_millis=EVERY_MS
        )
        self._resource = Resource.create(
            {"service.name": "calmops", "service.version": calmops.__version__, **resource}
        )
        self.sent = 0

    def send(self, spans: Sequence[Span]) -> None:
        """Hand a trace over."""
        for span in spans:
            self._processor.on_end(_readable(span, self._resource))
            self.sent += 1

    @property
    def taken(self) -> int:
        """Spans that the receiver took."""
        return self._exporter.taken

    @property
    def refused(self) -> int:
        """Spans that it didn't, after every retry."""
        return self._exporter.refused

    def close(self) -> None:
        """Send what waits, and end."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # untyped in the SDK


class _Counting(SpanExporter):
    """An exporter that counts what becomes of its spans."""

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
    """As the SDK has it. Only the request's own parent is somebody else's, the caller's."""
    of_request = span.name == Name.REQUEST
    state = TraceState.from_header([span.tracestate or ""])
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id, state, remote=False),
        parent=_context(span.trace_id, span.parent_id, state, remote=of_request) if span.parent_id else None,
        resource=resource,
        attributes=span.attributes,
        events=[Event(event.name, event.attributes, event.at_ns) for event in span.events],
        kind=SpanKind.SERVER if of_request else SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=SCOPE,
    )


def _context(trace_id: int, span_id: int, state: TraceState, *, remote: bool) -> SpanContext:
    return SpanContext(
        trace_id, span_id, is_remote=remote, trace_flags=TraceFlags(TraceFlags.SAMPLED), trace_state=state
    )
