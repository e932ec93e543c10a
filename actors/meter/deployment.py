"""The meter's deployment: one active meter, on a port of its own, which the gateways' /metrics and /console relay.

Beneath a path that nobody can guess, and that it tells the cluster alone: with several nodes the port is open to their network,
and who asks there shows no token.
"""

import secrets
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import ray

from actors.cluster.registry import REPORT_S, registry
from calmops.foundation import config as configuration
from calmops.foundation import paths
from calmops.foundation.config import Config
from calmops.foundation.config_sections import ObjectivesConfig
from calmops.foundation.errors import SetupError
from calmops.foundation.metric_names import READ_FAILURES
from calmops.objectives.promises.prices import Prices, read_prices
from calmops.objectives.promises.promises import Promises
from calmops.objectives.promises_folder import read_folder
from calmops.telemetry.exposition.prometheus import joined, plain, rendered
from calmops.telemetry.exposition.vllm import vllm_exposition
from calmops.telemetry.metering import meter as telemetry
from calmops.telemetry.settings import TelemetrySettings
from calmops.tracing.otlp import OtlpTraces
from calmops.tracing.trace_selection import TailSampler
from calmops.tracing.tracer import Tracer
from calmops.watching.judgement import Judgement

OPENMETRICS, TEXT = "application/openmetrics-text", "text/plain; version=0.0.4; charset=utf-8"
AGAIN_S = 30.0  # after which a file that couldn't be read is tried again
LOOK_LIMIT_S = 2.0
LEASE_WAIT_S = 30.0  # how long the meter of a redeploy waits for the old one to give up the lease


class Meter:
    """Folds the log and shows the counts."""

    def __init__(self, settings: TelemetrySettings, config: dict[str, Any]) -> None:
        self._watch, self._traces, self._files = _watch(configuration.from_json(config))
        self._watch.remember_in(paths.folder("state") / "evaluator.msgpack")
        self._meter = _take_lease(settings, self._watch)
        self._vllm_names = bool(config.get("vllm_names"))
        secret = secrets.token_urlsafe()
        self._server = ThreadingHTTPServer((_host(settings), 0), _handler(secret, self._shown, self._watch))
        host, port = self._server.server_address[:2]
        self._url = f"http://{host!s}:{port}/{secret}/metrics"
        self._leaving = threading.Event()
        self._meter.start()
        self._threads = [
            threading.Thread(target=self._watch.run, args=(self._meter, self._leaving), name="watch", daemon=True),
            threading.Thread(target=self._server.serve_forever, name="meter-http", daemon=True),
            threading.Thread(target=self._report_often, name="roster", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def check_health(self) -> None:
        """Serve's own probe. Raises where what is shown stands still, so that a new meter goes on from the saved state."""
        self._meter.check_health()
        ended = [thread.name for thread in self._threads if not thread.is_alive()]
        if ended and not self._leaving.is_set():
            raise telemetry.MeterEnded(f"these threads of the meter have ended: {', '.join(ended)}; start it anew")

    def url(self) -> str:
        """Where the counts are shown."""
        return self._url

    def _shown(self, openmetrics: bool) -> bytes:
        """All there is, in Prometheus' text format or in OpenMetrics."""
        failures = plain(READ_FAILURES, [([part], count) for part, count in self._meter.read_failures.items()])
        parts = [
            self._meter.look(partial(self._watch.exposition, openmetrics=openmetrics)), self._watch.metrics(openmetrics=openmetrics),
            rendered([failures], openmetrics=openmetrics),
        ]  # fmt: skip
        if self._vllm_names:
            parts.append(self._meter.look(partial(vllm_exposition, now_ns=time.time_ns(), openmetrics=openmetrics)))
        return joined(parts, openmetrics=openmetrics)

    def _report_often(self) -> None:
        while not self._leaving.is_set():
            try:
                self._watch.roster = ray.get(registry().meter_here.remote(self._url), timeout=REPORT_S * 20)
                self._watch.nodes = {str(node["NodeID"]): bool(node["Alive"]) for node in ray.nodes()}
            except Exception:  # the registry is starting anew, or the cluster's head is away
                self._watch.failed("roster")
                self._leaving.wait(REPORT_S)
            self._files.read_again(self._watch)
            self._leaving.wait(REPORT_S)

    def __del__(self) -> None:
        if hasattr(self, "_server"):
            self._leaving.set()
            self._server.shutdown()
            self._threads[0].join(LOOK_LIMIT_S)  # its last look is remembered before another meter may come
            self._meter.stop()
            if self._traces is not None:
                self._traces.close()


class _Files:
    """What is promised and what it costs. A file that somebody is just editing costs what it says, not the metering."""

    def __init__(self, config: ObjectivesConfig) -> None:
        self._readers: dict[str, Callable[[], Any]] = {
            "objectives": lambda: read_folder(Path(config.path) if config.path else None).promises
        }
        if config.prices_file:
            self._readers["prices"] = partial(read_prices, Path(config.prices_file))
        self._next_s = 0.0

    def read(self, failed: Callable[[str], None]) -> tuple[Promises | None, Prices | None]:
        """What hasn't been read yet; None for what can't be, of which ``failed`` is told."""
        found: dict[str, Any] = {}
        for part, read in list(self._readers.items()):
            try:
                found[part] = read()
            except Exception:  # whatever is wrong with it: an editor may have saved half of it
                failed(part)
            else:
                del self._readers[part]
        self._next_s = time.monotonic() + AGAIN_S
        return found.get("objectives"), found.get("prices")

    def read_again(self, watch: Judgement) -> None:
        """What is still wanting, every AGAIN_S."""
        if self._readers and time.monotonic() >= self._next_s:
            watch.use(*self.read(watch.failed))


def _watch(config: Config) -> tuple[Judgement, OtlpTraces | None, _Files]:
    """What is promised, what it costs, and where traces go."""
    traces, tracer = None, None
    if config.tracing.endpoint is not None:
        traces = OtlpTraces(config.tracing.endpoint, {"deployment.environment.name": config.environment})
        tracer = Tracer(TailSampler(config.tracing.share, config.tracing.slowest), traces.send)
    watch, files = Judgement(None, None, tracer, traces), _Files(config.objectives)
    watch.use(*files.read(watch.failed))
    return watch, traces, files


def _take_lease(settings: TelemetrySettings, watch: Judgement) -> telemetry.Meter:
    deadline_s = time.monotonic() + LEASE_WAIT_S
    while True:
        try:
            return telemetry.Meter(settings, see=watch.see)
        except SetupError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(REPORT_S)


def _host(settings: TelemetrySettings) -> str:
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) == 1:
        return "127.0.0.1"
    if settings.kafka is None:
        raise SetupError(
            f"{len(nodes)} nodes but no Kafka: the spool joins gateways and meter on one node only. "
            "Set kafka.bootstrap_servers in calmops.yaml."
        )
    return str(ray.util.get_node_ip_address())


def _handler(secret: str, shown: Callable[[bool], bytes], watch: Judgement) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == f"/{secret}/metrics":
                openmetrics = OPENMETRICS in self.headers.get("Accept", "")
                body, kind = shown(openmetrics), f"{OPENMETRICS}; version=1.0.0; charset=utf-8" if openmetrics else TEXT
            elif self.path == f"/{secret}/state":
                body, kind = msgspec.json.encode(watch.state()), "application/json"
            else:
                self.send_error(404, "ask a gateway for /metrics")
                return
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """A scrape isn't news."""

    return Handler
