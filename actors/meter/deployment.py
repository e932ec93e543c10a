"""Runs the one active meter as a Serve deployment; the gateways' /metrics and /console relay what its port answers."""

import threading
import time
from functools import partial
from typing import Any

import msgspec
import ray

from actors.cluster.registry import registry
from calmops.foundation import config as configuration
from calmops.foundation import paths
from calmops.foundation.config import Config
from calmops.foundation.errors import SetupError
from calmops.foundation.liveness import REPORT_LIMIT_S, REPORT_S
from calmops.foundation.metric_names import READ_FAILURES
from calmops.telemetry.exposition.prometheus import joined, plain, rendered
from calmops.telemetry.exposition.vllm import vllm_exposition
from calmops.telemetry.metering import meter as telemetry
from calmops.telemetry.settings import TelemetrySettings
from calmops.tracing.otlp import OtlpTraces
from calmops.tracing.trace_selection import TailSampler
from calmops.tracing.tracer import Tracer
from calmops.watching.promise_files import PromiseFiles
from calmops.watching.watch_server import WatchServer
from calmops.watching.watcher import Watcher

LAST_LOOK_S = 2.0  # how long the last look may take when the meter ends
LEASE_WAIT_S = 30.0  # how long the meter of a redeploy waits for the old one to give up the lease


class Meter:
    """Puts together the meter, which folds the log, the watcher beside it, and the server that shows both."""

    def __init__(self, settings: TelemetrySettings, config: dict[str, Any]) -> None:
        its_config = configuration.from_json(config)
        self._traces = _traces(its_config)
        self._watcher = Watcher(_tracer(its_config, self._traces), self._traces)
        self._files = PromiseFiles(its_config.objectives, self._watcher)
        self._files.read()
        self._watcher.remember_in(paths.folder("state") / "evaluator.msgpack")
        self._meter = _take_lease(settings, self._watcher)
        self._vllm_names = its_config.vllm_names
        self._server = WatchServer(_host(settings), self._shown, lambda: msgspec.json.encode(self._watcher.state()))
        self._leaving = threading.Event()
        self._meter.start()
        self._threads = [
            threading.Thread(target=self._watcher.run, args=(self._meter, self._leaving), name="watch", daemon=True),
            threading.Thread(target=self._server.serve, name="meter-http", daemon=True),
            threading.Thread(target=self._report_often, name="roster", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def check_health(self) -> None:
        """Answer Serve's own probe. Raises if what is shown stands still: a new meter goes on from the saved state."""
        self._meter.check_health()
        ended = [thread.name for thread in self._threads if not thread.is_alive()]
        if ended and not self._leaving.is_set():
            raise telemetry.MeterEnded(f"these threads of the meter have ended: {', '.join(ended)}; start it again")

    def url(self) -> str:
        """Return the address of the metrics."""
        return self._server.url

    def _shown(self, openmetrics: bool) -> bytes:
        """Return all metrics, in Prometheus' text format or in OpenMetrics."""
        failures = plain(READ_FAILURES, [([part], count) for part, count in self._meter.read_failures.items()])
        texts = [
            self._meter.look(partial(self._watcher.exposition, openmetrics=openmetrics)),
            self._watcher.metrics(openmetrics=openmetrics),
            rendered([failures], openmetrics=openmetrics),
        ]
        if self._vllm_names:
            texts.append(self._meter.look(partial(vllm_exposition, now_ns=time.time_ns(), openmetrics=openmetrics)))
        return joined(texts, openmetrics=openmetrics)

    def _report_often(self) -> None:
        while not self._leaving.is_set():
            try:
                self._watcher.roster = ray.get(registry().meter_here.remote(self._server.url), timeout=REPORT_LIMIT_S)
                self._watcher.nodes = {str(node["NodeID"]): bool(node["Alive"]) for node in ray.nodes()}
            except Exception:  # the registry is starting again, or the cluster's head is away
                self._watcher.failed("roster")
                self._leaving.wait(REPORT_S)
            self._files.read()
            self._leaving.wait(REPORT_S)

    def __del__(self) -> None:
        if hasattr(self, "_threads"):
            self._leaving.set()
            self._server.close()
            self._threads[0].join(LAST_LOOK_S)  # its last look is saved before another meter may come
            self._meter.stop()
            if self._traces is not None:
                self._traces.close()


def _traces(config: Config) -> OtlpTraces | None:
    """Return where traces go; None without an endpoint."""
    if config.tracing.endpoint is None:
        return None
    return OtlpTraces(config.tracing.endpoint, {"deployment.environment.name": config.environment})


def _tracer(config: Config, traces: OtlpTraces | None) -> Tracer | None:
    return None if traces is None else Tracer(TailSampler(config.tracing.share, config.tracing.slowest), traces.send)


def _take_lease(settings: TelemetrySettings, watcher: Watcher) -> telemetry.Meter:
    deadline_s = time.monotonic() + LEASE_WAIT_S
    while True:
        try:
            return telemetry.Meter(settings, see=watcher.see)
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
