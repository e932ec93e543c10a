"""The meter's deployment: one active meter, on a port of its own, which the gateways' /metrics relays."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import ray

from actors.health import REPORT_S, health
from calmops.foundation.errors import SetupError
from calmops.telemetry import meter as telemetry
from calmops.telemetry.settings import TelemetrySettings

LEASE_WAIT_S = 30.0  # how long the meter of a redeploy waits for the old one to give up the lease


class Meter:
    """Folds the log and shows the counts."""

    def __init__(self, settings: TelemetrySettings) -> None:
        self._meter = _take_lease(settings)
        self._server = ThreadingHTTPServer((_host(settings), 0), _handler(self._meter))
        host, port = self._server.server_address[:2]
        self._url = f"http://{host!s}:{port}/metrics"
        self._leaving = threading.Event()
        self._meter.start()
        threading.Thread(target=self._server.serve_forever, name="meter-http", daemon=True).start()
        threading.Thread(target=self._report_often, name="roster", daemon=True).start()

    def url(self) -> str:
        """Where the counts are shown."""
        return self._url

    def _report_often(self) -> None:
        while not self._leaving.is_set():
            try:
                ray.get(health().meter_here.remote(self._url), timeout=REPORT_S * 20)
            except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
                time.sleep(REPORT_S)
            self._leaving.wait(REPORT_S)

    def __del__(self) -> None:
        if hasattr(self, "_server"):
            self._leaving.set()
            self._server.shutdown()
            self._meter.stop()


def _take_lease(settings: TelemetrySettings) -> telemetry.Meter:
    deadline_s = time.monotonic() + LEASE_WAIT_S
    while True:
        try:
            return telemetry.Meter(settings)
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


def _handler(meter: telemetry.Meter) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/metrics":
                self.send_error(404, "only /metrics is here")
                return
            body = meter.exposition()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """A scrape isn't news."""

    return Handler
