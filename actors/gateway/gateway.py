"""The gateway: takes requests, journals their streams, hands their tokens over. One HTTP process, one event loop.

It parses nothing itself (``calmops.intake``), decides nothing about streams (``calmops.streams``) and writes no
record format (``calmops.telemetry``): it accepts, drives and closes.
"""

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from ray.actor import ActorHandle
from ray.serve.handle import DeploymentHandle

from actors.cluster.app_names import REPLICA, model_app
from actors.cluster.haproxy import refuse_open_ingress
from actors.cluster.registry import REPORT_S, registry
from actors.gateway.attempts import AttemptDriver
from actors.gateway.frame_exchange import FrameExchange
from actors.gateway.live_request import LiveRequest
from actors.gateway.meter_client import MeterClient
from actors.gateway.request_log import RequestLog
from actors.gateway.routing_book import BOOK
from calmops.foundation import config as configuration
from calmops.foundation.config_sections import ModelConfig
from calmops.foundation.errors import ReleaseError, UnavailableError
from calmops.intake.admission import Admission
from calmops.intake.limits import IntakeLimits
from calmops.intake.served_model import ServedModel, load_served
from calmops.intake.validate import Intake
from calmops.messages.record import Closed, Labels, Opened
from calmops.messages.roster import GatewayEntry, Roster
from calmops.streams.gang_liveness import GangLiveness
from calmops.streams.journal import Journal
from calmops.telemetry.log.publisher import Publisher, Unpublished
from calmops.telemetry.settings import TelemetrySettings
from calmops.tracing.tracer import context_of

VERSION_CHARS = 12  # of a release's digest: enough to tell two apart on a dashboard


@serve.ingress()
class Gateway:
    """One gateway process."""

    def __init__(self, config: dict[str, Any], folders: Mapping[str, str], telemetry: TelemetrySettings | None) -> None:
        self.config = configuration.from_json(config)
        refuse_open_ingress(self.config)
        self.gateway_id = f"gw-{os.urandom(4).hex()}"
        labels: dict[str, Labels] = {}
        self.publisher = (
            Unpublished(labels) if telemetry is None else Publisher(self.gateway_id, telemetry, labels=labels)
        )
        self.publisher.start()
        labels |= {model.name: self._labels(model, "") for model in self.config.models}
        self.served = self._load(folders)
        labels |= {
            model.name: self._labels(model, self.served[model.name].release_digest) for model in self.config.models
        }
        for name in labels:  # so that each model's series begin at 0, and the first event is seen as a rise
            for reason in ("release_mismatch", "encode", "decode"):
                self.publisher.count(name, "tokenization_errors", reason, 0)
        self._request_log = RequestLog(
            self.gateway_id, self.config.capture, {name: model.end_ids for name, model in self.served.items()}
        )
        self.meter = MeterClient(self.meter_url)
        self.admission = Admission(self.config.limits.max_waiting)
        self.intake_limits = IntakeLimits(
            body_bytes=self.config.limits.max_body_bytes,
            n=self.config.limits.max_n,
            timeout_s=self.config.limits.timeout_s,
        )
        self.admin_token = configuration.admin_token(self.config)
        failover = self.config.failover
        self._registry = registry()
        liveness = GangLiveness(int(failover.stall_s * 1e9), self._takes)
        self.exchange = FrameExchange(
            self.gateway_id, self.publisher, liveness, GangReports(self._registry), _frame_host()
        )
        self.attempts = AttemptDriver(
            self.exchange,
            lambda: self.roster.draining,
            max_attempts=failover.max_attempts,
            no_replica_s=failover.no_replica_s,
        )
        self.roster = Roster()
        self.node_id = ray.get_runtime_context().get_node_id()
        self._handles: dict[str, DeploymentHandle] = {}
        self._background: set[asyncio.Task[None]] = set()

    def __serve_build_asgi_app__(self) -> FastAPI:
        from actors.gateway.api import build_api

        return build_api(self)

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        """Start receiving frames and reporting; stop both at the end."""
        self.exchange.start()
        self._background = {asyncio.create_task(self._tick_often()), asyncio.create_task(self._report_often())}
        yield
        for task in self._background:
            task.cancel()
        self.exchange.close()
        await self.meter.close()
        await asyncio.to_thread(self._request_log.close)
        await asyncio.to_thread(self.publisher.close)

    async def accept(self, intake: Intake) -> LiveRequest:
        """Admit, record and begin one request. LoadError and UnavailableError refuse it at once."""
        request = intake.request
        if request.model in self.roster.disabled:
            raise UnavailableError(f"model {request.model!r} was taken out of service by an operator")
        self.admission.enter(request)
        journal = Journal(request, self.gateway_id, time.monotonic_ns(), self.publisher.labels[request.model])
        opened = self._opened(intake)
        if not request.probe:
            journal.ledger_held = await self.publisher.open(opened)
        live = LiveRequest(intake, journal, context_of(opened))
        self.exchange.add(live)
        live.driving = asyncio.create_task(self.attempts.drive(live, self._handle(request.model)))
        return live

    def meter_url(self) -> str:
        """Where the meter answers. UnavailableError where there is none."""
        if not self.config.telemetry:
            raise UnavailableError("telemetry is off: set `telemetry: true` in calmops.yaml and run `calmops up` again")
        if self.roster.meter_url is None:
            raise UnavailableError("no meter has reported yet; the application `telemetry` may still be starting")
        return self.roster.meter_url

    def close(self, live: LiveRequest, *, unsent: int = 0, detail: str | None = None) -> None:
        """Close the request's books, once. ``unsent``: released tokens that were never handed to the HTTP server."""
        self.exchange.remove(live)
        self.admission.leave(live.intake.request)
        if live.driving is not None and not live.driving.done():
            live.driving.cancel()
        if live.intake.request.probe:
            return
        closed = live.journal.close(
            live.outcome(), time.monotonic_ns(), time.time_ns(), detail=detail or (str(live.error) if live.error else None),  undelivered=unsent,
        )  # fmt: skip
        self.publisher.publish(closed)
        for _ in range(closed.attempts - 1):
            self.publisher.count(closed.model, "migrations", "replica_lost")
        if closed.exact_lost:
            self.publisher.count(closed.model, "exact_lost", "other_fingerprint")
        self._request_log.ended(live, closed)

    def refused(self, outcome: str, request_id: str, model: str = "unknown") -> None:
        """Count a request that was never accepted: "refused_input", "refused_load", or "failed" where its text broke the tokenizer."""
        self.publisher.publish(
            Closed(
                request_id=request_id,
                model=model,
                gateway_id=self.gateway_id,
                at_ns=time.time_ns(),
                outcome=outcome,
                attempts=0,
                prompt_tokens=0,
                journaled=0,
                delivered=0,
                discarded=0,
                ttft_ns=None,
                duration_ns=0,
                labels=self.publisher.labels.get(model, Labels(environment=self.config.environment)),
            )
        )
        self._request_log.refused(request_id, model, outcome)

    def draw_seed(self) -> int:
        """A seed for a request that brought none; it is returned, so the answer can be had again."""
        return secrets.randbits(63)

    def _load(self, folders: Mapping[str, str]) -> dict[str, ServedModel]:
        served = {}
        for name, folder in folders.items():
            try:
                served[name] = load_served(Path(folder), name)
            except ReleaseError:
                self.publisher.count(name, "tokenization_errors", "release_mismatch")
                raise
        return served

    def _opened(self, intake: Intake) -> Opened:
        request = intake.request
        return Opened(
            request_id=request.request_id, model=request.model, gateway_id=self.gateway_id, at_ns=time.time_ns(),
            prompt_tokens=len(request.prompt_ids), max_tokens=request.params.max_tokens,
            choices=request.params.n, stream=request.stream, prompt_chars=request.prompt_chars, labels=self.publisher.labels[request.model],
            traceparent=request.traceparent, tracestate=request.tracestate, baggage=request.baggage, kind=intake.kind,
        )  # fmt: skip

    def _labels(self, model: ModelConfig, digest: str) -> Labels:
        """Under what this model's numbers are kept apart; the version is its release, "" until that is read."""
        return Labels(
            version=digest[:VERSION_CHARS], variant=model.variant, tier=model.tier, environment=self.config.environment
        )

    def _takes(self, replica_id: str) -> bool:
        return BOOK.is_routable(replica_id) and replica_id not in self.roster.draining

    def _handle(self, model: str) -> DeploymentHandle:
        if model not in self._handles:
            self._handles[model] = serve.get_deployment_handle(REPLICA, model_app(model))
        return self._handles[model]

    async def _tick_often(self) -> None:
        interval_s = self.config.failover.stall_s / 5
        while True:
            self.exchange.tick()
            self._cut_slow_clients()
            for (model, name, reason), count in self._request_log.failures().items():
                self.publisher.count(model, name, reason, count)
            await asyncio.sleep(interval_s)

    def _cut_slow_clients(self) -> None:
        oldest_ns = time.monotonic_ns() - int(self.config.limits.slow_client_s * 1e9)
        for live in self.exchange.live():
            if live.sending_since_ns is not None and live.sending_since_ns < oldest_ns and live.response is not None:
                self.publisher.count(live.intake.request.model, "slow_clients_cut", "write_blocked")
                live.end(outcome="client_cancelled")
                live.response.cancel()

    async def _report_often(self) -> None:
        entry = GatewayEntry(gateway_id=self.gateway_id, channel=self.exchange.channel, node_id=self.node_id)
        while True:
            try:
                self.roster = await asyncio.wait_for(self._registry.gateway_here.remote(entry), REPORT_S * 20)
            except (ray.exceptions.RayActorError, TimeoutError):
                self._registry = registry()
            await asyncio.sleep(REPORT_S)


class GangReports:
    """Tells the registry; its handle outlives its restarts."""

    def __init__(self, actor: ActorHandle) -> None:
        self._registry = actor

    def lost(self, gang_id: str, why: str) -> None:
        self._registry.gang_lost.remote(gang_id, why)


def _frame_host() -> str | None:
    """None on a single node: an abstract socket. Else this node's address, encrypted."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    return None if len(nodes) == 1 else str(ray.util.get_node_ip_address())
