"""Puts a gateway together: one HTTP process with one event loop, deployed by Serve.

It parses nothing itself (``calmops.intake``), decides nothing about streams (``calmops.streams``) and writes no record
format (``calmops.telemetry``).
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from actors.cluster.app_names import REPLICA, model_app
from actors.cluster.haproxy import refuse_open_ingress
from actors.gateway.admin_api import build_admin
from actors.gateway.api import ApiParts, build_api
from actors.gateway.attempts import AttemptDriver
from actors.gateway.console_api import ConsoleState, build_console
from actors.gateway.frame_exchange import FrameExchange
from actors.gateway.generation import Generation
from actors.gateway.meter_client import MeterClient
from actors.gateway.operator_guard import operators_only
from actors.gateway.peers import Peers
from actors.gateway.readiness import Readiness
from actors.gateway.request_lifecycle import RequestLifecycle
from actors.gateway.request_log import RequestLog
from actors.gateway.roster_client import RosterClient, frame_host
from actors.gateway.routing_book import BOOK
from calmops.foundation import config as configuration
from calmops.foundation.errors import ReleaseError, UnavailableError
from calmops.foundation.liveness import BEATS_PER_STALL
from calmops.foundation.metric_names import EVENT_REASONS
from calmops.foundation.model_labels import ModelLabels
from calmops.foundation.sockets import FrameServer
from calmops.intake.admission import Admission
from calmops.intake.served_model import ServedModel, load_served
from calmops.messages.roster import GatewayEntry
from calmops.streams.gang_liveness import GangLiveness
from calmops.telemetry.log.publisher import SilentPublisher, SpoolPublisher
from calmops.telemetry.settings import TelemetrySettings

VERSION_CHARS = 12  # of a release's digest: enough to tell two apart on a dashboard


@serve.ingress()
class Gateway:
    """Wires the parts of one gateway process, and starts and stops its background work."""

    def __init__(self, config: dict[str, Any], folders: Mapping[str, str], telemetry: TelemetrySettings | None) -> None:
        self._config = configuration.from_json(config)
        refuse_open_ingress(self._config)
        self._gateway_id = f"gw-{os.urandom(4).hex()}"
        self._labels: dict[str, ModelLabels] = {}
        self._publisher: SpoolPublisher | SilentPublisher = (
            SilentPublisher(self._gateway_id, self._labels)
            if telemetry is None
            else SpoolPublisher(self._gateway_id, telemetry, labels=self._labels)
        )
        self._publisher.start()
        self._served = self._load(folders)
        self._request_log = RequestLog(
            self._gateway_id, self._config.capture, {name: model.end_ids for name, model in self._served.items()}
        )
        self._roster = RosterClient()
        self._meter = MeterClient(self._meter_url)
        stall_ns = int(self._config.failover.stall_s * 1e9)
        liveness = GangLiveness(
            stall_ns, lambda replica_id: BOOK.is_routable(replica_id) and self._roster.takes(replica_id)
        )
        self._exchange = FrameExchange(
            self._publisher, liveness, BOOK, self._roster, partial(FrameServer, host=frame_host())
        )
        self._entry = GatewayEntry(
            gateway_id=self._gateway_id,
            channel=self._exchange.channel,
            node_id=ray.get_runtime_context().get_node_id(),
        )
        self._handles: dict[str, DeploymentHandle] = {}
        self._attempts = AttemptDriver(
            self._exchange,
            BOOK,
            self._handle,
            lambda: self._roster.roster.draining,
            self._config.failover,
        )
        self._lifecycle = RequestLifecycle(
            gateway_id=self._gateway_id,
            environment=self._config.environment,
            publisher=self._publisher,
            request_log=self._request_log,
            admission=Admission(self._config.limits.max_requests),
            attempts=self._attempts,
            roster=self._roster,
        )
        self._background: set[asyncio.Task[None]] = set()

    def __serve_build_asgi_app__(self) -> FastAPI:
        guard = operators_only(configuration.admin_token(self._config))
        peers = Peers(
            entry=self._entry,
            roster=self._roster,
            exchange=self._exchange,
            book=BOOK,
            attempts=self._attempts,
            publisher=self._publisher,
        )
        self._exchange.answer_peers = peers.answer
        state = ConsoleState(self._gateway_id, self._config.environment, self._roster, peers, self._meter)
        return build_api(
            ApiParts(
                gateway_id=self._gateway_id,
                lifespan=self._lifespan,
                served=self._served,
                generation=Generation(self._served, self._config.limits, self._config.tracing.baggage, self._lifecycle),
                readiness=Readiness(self._in_service, self._exchange.last_token_ns, self._lifecycle),
                meter=self._meter,
                routers=(
                    build_admin(guard, self._served, peers, self._roster, self._publisher),
                    build_console(guard, state),
                ),
            )
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        """Start receiving frames and reporting; stop both at the end."""
        self._exchange.start()
        self._background = {
            asyncio.create_task(self._tick_often()),
            asyncio.create_task(self._roster.report_often(self._entry)),
        }
        yield
        for task in self._background:
            task.cancel()
        self._exchange.close()
        await self._meter.close()
        await asyncio.to_thread(self._request_log.close)
        await asyncio.to_thread(self._publisher.close)

    def _load(self, folders: Mapping[str, str]) -> dict[str, ServedModel]:
        """Read every release, and fill in each model's label set, whose version is its release. Raises ReleaseError."""
        for model in self._config.models:
            self._labels[model.name] = configuration.model_labels(self._config, model, "")
        served = {}
        for model in self._config.models:
            try:
                served[model.name] = load_served(Path(folders[model.name]), model.name)
            except ReleaseError:
                self._publisher.count(model.name, "tokenization_errors", "release_mismatch")
                raise
        for model in self._config.models:
            version = served[model.name].release_digest[:VERSION_CHARS]
            self._labels[model.name] = configuration.model_labels(self._config, model, version)
            # Each model's series begin at 0, so that the first event is seen as a rise.
            for reason in EVENT_REASONS["tokenization_errors"]:
                self._publisher.count(model.name, "tokenization_errors", reason, 0)
        return served

    def _meter_url(self) -> str:
        """Return the meter's address. Raises UnavailableError if there is none."""
        if not self._config.telemetry:
            raise UnavailableError("telemetry is off: set `telemetry: true` in calmops.yaml and run `calmops up` again")
        if self._roster.roster.meter_url is None:
            raise UnavailableError("no meter has reported yet; the application `telemetry` may still be starting")
        return self._roster.roster.meter_url

    def _in_service(self) -> list[str]:
        return [name for name in self._served if name not in self._roster.roster.disabled]

    def _handle(self, model: str) -> DeploymentHandle:
        if model not in self._handles:
            self._handles[model] = serve.get_deployment_handle(REPLICA, model_app(model))
        return self._handles[model]

    async def _tick_often(self) -> None:
        interval_s = self._config.failover.stall_s / BEATS_PER_STALL
        while True:
            self._exchange.tick()
            self._cut_slow_clients()
            for (model, name, reason), count in self._request_log.failures().items():
                self._publisher.count(model, name, reason, count)
            await asyncio.sleep(interval_s)

    def _cut_slow_clients(self) -> None:
        oldest_ns = time.monotonic_ns() - int(self._config.limits.slow_client_s * 1e9)
        for live in self._exchange.live():
            if (
                live.sending_since_ns is not None
                and live.sending_since_ns < oldest_ns
                and live.response_task is not None
            ):
                self._publisher.count(live.intake.request.model, "slow_clients_cut", "write_blocked")
                live.end(outcome="client_cancelled")
                live.response_task.cancel()
