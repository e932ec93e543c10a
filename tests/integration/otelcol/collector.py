"""Builds the real collector once and runs it on loopback; it sends the spans that it takes over OTLP to a sink here."""

import gzip
import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from calmops.foundation import paths
from calmops.local_services.process import LocalProcess, answers

HERE = Path(__file__).resolve().parent
BUILD_S, START_S = 900.0, 30.0


class Sink:
    """Receives the spans that the collector sends."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        sink.spans += scope.spans
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop receiving."""
        self._server.shutdown()


@contextmanager
def collector(folder: Path, port: int) -> Iterator[Sink]:
    """Run a collector that takes OTLP over HTTP on ``port`` of loopback; yield the sink behind it."""
    program, sink = build(), Sink()
    settings = folder / "collector.yaml"
    settings.write_text(yaml.safe_dump({
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}"}}}},
        "exporters": {"otlphttp": {"traces_endpoint": sink.url, "tls": {"insecure": True}}},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["otlphttp"]}},
        },
    }), encoding="utf-8")  # fmt: skip
    process = LocalProcess("otelcol", folder / "otelcol", [port])
    process.start([str(program), "--config", str(settings)], lambda: answers(port), START_S)
    try:
        yield sink
    finally:
        process.stop()
        sink.close()


def build() -> Path:
    """Return the program's path; compile it unless it exists for these sources."""
    source = b"".join((HERE / name).read_bytes() for name in ("main.go", "go.mod", "go.sum"))
    program = paths.folder("tools") / "otelcol" / hashlib.sha256(source).hexdigest()[:16] / "otelcol"
    if not program.is_file():
        go = Path(sys.executable).with_name("go")
        assert go.is_file(), (
            f"there is no {go}, which builds the OpenTelemetry Collector; it comes with the extra: "
            "pip install 'calmops[dev]'"
        )
        program.parent.mkdir(parents=True, exist_ok=True)
        fresh = program.with_suffix(".new")
        command = [str(go), "build", "-trimpath", "-ldflags", "-s -w", "-o", str(fresh), "."]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False, timeout=BUILD_S)
        assert done.returncode == 0, done.stderr[-2000:]
        fresh.replace(program)
    return program
