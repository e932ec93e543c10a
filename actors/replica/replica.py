"""Takes placements by unary call, as a Serve replica and rank 0 of its gang; the engine thread carries them out.

Tokens don't ride on the call: they travel in frames. The call lives as long as the attempt, so Serve's accounting,
draining and routing work.
"""

import asyncio
import os
import threading
import time

import msgspec
import ray
from ray import serve

from actors.cluster.node_facts import NodeReader
from actors.cluster.registry import registry
from actors.replica.engine_thread import EngineThread, FrameHeader
from actors.replica.gang import start_gang
from calmops.engine.settings import EngineSettings
from calmops.foundation.errors import GangError
from calmops.foundation.liveness import REPORT_LIMIT_S, REPORT_S
from calmops.messages.placement import Placement, Summary
from calmops.messages.roster import GangEntry


class Replica:
    """Serves one model with one gang."""

    def __init__(
        self, model: str, settings: EngineSettings, options: dict[str, float], bundle: dict[str, float]
    ) -> None:
        self._gang = start_gang(settings, load_s=options["load_s"], bundle=bundle)
        context = serve.get_replica_context()
        self._entry = GangEntry(
            model=model, replica_id=context.replica_id.unique_id, gang_id=self._gang.gang_id,
            node_id=ray.get_runtime_context().get_node_id(), members=self._gang.members,
            fingerprint=self._gang.engine.fingerprint, tp=settings.tp,
        )  # fmt: skip
        header = FrameHeader(
            replica_id=self._entry.replica_id,
            gang_id=self._entry.gang_id,
            model=model,
            fingerprint=self._entry.fingerprint,
        )
        self._node = NodeReader()
        self._fatal: str | None = None
        self._engine = EngineThread(self._gang.engine, header, options["stall_s"], self._on_fatal)
        self._registry = registry()
        self._leaving = threading.Event()
        self._report()
        self._engine.start()
        threading.Thread(target=self._report_often, name="roster", daemon=True).start()

    async def generate(self, placement: Placement) -> Summary:
        """Carry one attempt to its end. If Serve cancels the call, its sequences are free by the next step."""
        if not self._engine.is_linked(placement.gateway_id):
            await asyncio.to_thread(self._report)  # the gateway is newer than the roster that we read last
        future = self._engine.submit(placement)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self._engine.cancel(placement.stream_token, "cancelled")
            raise

    def check_health(self) -> None:
        """Answer Serve's own probe: raise GangError if the engine has ended. Gateways and reaper watch its progress."""
        if self._fatal is not None:
            raise GangError(f"gang {self._entry.gang_id} ended: {self._fatal}")

    def _report(self) -> None:
        entry = msgspec.structs.replace(self._entry, node=self._node.facts)
        self._engine.shard, roster = ray.get(self._registry.gang_here.remote(entry), timeout=REPORT_LIMIT_S)
        self._engine.connect(roster.gateways)

    def _report_often(self) -> None:
        while not self._leaving.wait(REPORT_S):
            try:
                self._report()
            except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
                time.sleep(REPORT_S)
                self._registry = registry()

    def _on_fatal(self, why: str) -> None:
        self._fatal = why
        self._registry.gang_lost.remote(self._entry.gang_id, why)
        threading.Timer(1.0, os._exit, (1,)).start()  # the reaper comes first; if it can't, this does

    def __del__(self) -> None:
        if not hasattr(self, "_engine"):
            return
        self._leaving.set()
        ray.get(self._registry.gang_leaves.remote(self._entry.gang_id), timeout=5)
        self._engine.stop()
        self._engine.join(timeout=5)
        self._gang.stop()
