"""Sends spans in OTLP's wire format to a receiver on loopback."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from calmops.tracing.context import begin
from calmops.tracing.otlp import OtlpTraces
from calmops.tracing.request_trace import RequestTrace
from tests.support.trace_records import START_NS, closed, opened, step

Received = list[ExportTraceServiceRequest]


@pytest.fixture(name="receiver")
def otlp_receiver() -> Iterator[tuple[str, Received]]:
    received: Received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", received
    server.shutdown()


def test_a_trace_arrives_whole(receiver: tuple[str, Received]) -> None:
    url, received = receiver
    frames = [step(10), step(20)]
    trace = RequestTrace(opened(), begin("r", START_NS))
    for frame in frames:
        trace.step(frame, frame.sequences[0])
    traces = OtlpTraces(url, {"deployment.environment.name": "test"})
    traces.send(trace.spans(closed(50, outcome="failed", detail="no replica was left")))
    traces.close()
    spans = [
        span
        for request in received
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert [span.name for span in spans] == ["request", "queue", "prefill", "decode"]
    request, decode = spans[0], spans[-1]
    assert int.from_bytes(request.trace_id, "big") == trace.context.trace_id
    assert decode.parent_span_id == request.span_id
    assert (request.status.code, request.status.message) == (2, "no replica was left")
    gaps = next(
        attribute.value.array_value for attribute in decode.attributes if attribute.key == "calmops.token.gap_ms"
    )
    assert [value.double_value for value in gaps.values] == [10.0, 10.0]
    assert (traces.sent, traces.taken, traces.refused) == (4, 4, 0)
