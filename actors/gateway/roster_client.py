"""Talks to the registry for a gateway: reports that it lives, keeps the latest roster, passes operators' orders on."""

import asyncio
from typing import NoReturn

import ray
from ray.actor import ActorHandle

from actors.cluster.registry import registry
from calmops.foundation.errors import UnavailableError
from calmops.foundation.liveness import REPORT_LIMIT_S, REPORT_S
from calmops.messages.roster import GatewayEntry, Roster


class RosterClient:
    """Talks to the registry on the gateway's event loop. ``roster`` is the latest reading."""

    def __init__(self) -> None:
        self.roster = Roster()
        self._registry: ActorHandle = registry()

    async def report_often(self, entry: GatewayEntry) -> NoReturn:
        """Report every REPORT_S that this gateway lives, for ever."""
        while True:
            try:
                self.roster = await asyncio.wait_for(self._registry.gateway_here.remote(entry), REPORT_LIMIT_S)
            except (ray.exceptions.RayActorError, TimeoutError):
                self._registry = registry()
            await asyncio.sleep(REPORT_S)

    def gang_lost(self, gang_id: str, why: str) -> None:
        """Report a lost gang, so that it is ended. Doesn't wait for the call."""
        self._registry.gang_lost.remote(gang_id, why)

    async def set_draining(self, replica_id: str, draining: bool) -> None:
        """Send nothing new to a replica, or send again."""
        await self._registry.set_draining.remote(replica_id, draining)

    async def set_disabled(self, model: str, disabled: bool) -> None:
        """Take a model out of service, or put it back; the roster then says so."""
        await self._registry.set_disabled.remote(model, disabled)
        self.roster = await self._registry.roster.remote()

    def takes(self, replica_id: str) -> bool:
        """Return whether operators let a replica take placements."""
        return replica_id not in self.roster.draining

    def refuse_disabled(self, model: str) -> None:
        """Raise UnavailableError if an operator took the model out of service."""
        if model in self.roster.disabled:
            raise UnavailableError(f"model {model!r} was taken out of service by an operator")


def frame_host() -> str | None:
    """Return None on a single node, where frames use an abstract socket; else this node's address, encrypted."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    return None if len(nodes) == 1 else str(ray.util.get_node_ip_address())


def cluster_resources() -> dict[str, float]:
    """Return how much of each resource the cluster has, without the resources that name a node."""
    return {key: amount for key, amount in ray.cluster_resources().items() if ":" not in key}
