"""Spans are converted to those of OpenTelemetry's SDK."""

import msgspec
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanKind

from calmops.tracing.otlp import _readable
from calmops.tracing.request_trace import RequestTrace
from calmops.tracing.tracer import context_of
from tests.support.trace_records import closed, opened, step


def test_only_the_request_span_has_a_remote_parent() -> None:
    request = msgspec.structs.replace(opened(), traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01", tracestate="a=1,b=2")
    trace = RequestTrace(request, context_of(request))
    frame = step(10)
    trace.step(frame, frame.sequences[0])
    made = [_readable(span, Resource.get_empty()) for span in trace.spans(closed(50))]
    parents = {span.name: span.parent for span in made}
    assert {name: parent.is_remote for name, parent in parents.items() if parent} == {
        "request": True,
        "queue": False,
        "prefill": False,
        "decode": False,
    }
    assert {span.context.trace_state.to_header() for span in made if span.context} == {"a=1,b=2"}
    assert [span.name for span in made if span.kind is SpanKind.SERVER] == ["request"]
