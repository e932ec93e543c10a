"""The cluster's roster: gateways and gangs meet here, lost gangs are reported here. One named actor.

It keeps leases, not truths: everybody reports again each REPORT_S, so it may be restarted with nothing saved. Knows no
stream and no request.
"""

import logging
import time
from collections.abc import Callable

import msgspec
import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.cluster.app_names import NAMESPACE, REGISTRY
from actors.cluster.reaper import reaper_of
from calmops.foundation.liveness import LEASE_S
from calmops.messages.roster import GangEntry, GatewayEntry, Roster

_log = logging.getLogger("calmops.registry")
ENDED_REMEMBERED = 1000  # gangs, so that none is ended twice


class Registry:
    """Keeps who is there, under leases. ``reaper_of``: the reaper of a node, by the node's id."""

    def __init__(self, reaper_of: Callable[[str], ActorHandle] = reaper_of) -> None:
        self._reaper_of = reaper_of
        self._gateways: dict[str, tuple[GatewayEntry, float]] = {}
        self._gangs: dict[str, tuple[GangEntry, float]] = {}
        self._ended: dict[str, str] = {}  # gang id to why it ended, the newest ENDED_REMEMBERED
        self._meter_url: str | None = None
        self._disabled: set[str] = set()
        self._draining: set[str] = set()
        self._deployed: dict[str, str] = {}

    def gateway_here(self, entry: GatewayEntry) -> Roster:
        """Renew a gateway's lease; return the roster."""
        self._gateways[entry.gateway_id] = (entry, time.monotonic())
        return self.roster()

    def gang_here(self, entry: GangEntry) -> tuple[int, Roster]:
        """Renew a gang's lease; return its shard (the lowest slot of its model that is free) and the roster."""
        known = self._gangs.get(entry.gang_id)
        shard = known[0].shard if known else self._free_shard(entry.model)
        entry = msgspec.structs.replace(entry, shard=shard)
        if entry.gang_id not in self._ended:
            self._gangs[entry.gang_id] = (entry, time.monotonic())
        self._reaper_of(entry.node_id).hold.remote(entry.gang_id, entry.members)
        return shard, self.roster()

    def gang_lost(self, gang_id: str, why: str) -> bool:
        """End a gang that somebody saw die, stall or fall silent, once. Return False if it was ended before."""
        known = self._gangs.pop(gang_id, None)
        if gang_id in self._ended:
            return False
        _log.warning("gang %s is ended: %s", gang_id, why)
        self._end(gang_id, why)
        if known is not None:
            self._reaper_of(known[0].node_id).kill.remote(gang_id)
        return known is not None

    def gang_leaves(self, gang_id: str) -> None:
        """Forget a gang that ends by itself, in order."""
        known = self._gangs.pop(gang_id, None)
        self._end(gang_id, "left")
        if known is not None:
            self._reaper_of(known[0].node_id).release.remote(gang_id)

    def meter_here(self, url: str) -> Roster:
        """Note where the active meter answers; return the roster."""
        self._meter_url = url
        return self.roster()

    def set_disabled(self, model: str, disabled: bool) -> None:
        """Take a model out of service, or put it back."""
        (self._disabled.add if disabled else self._disabled.discard)(model)

    def set_draining(self, replica_id: str, draining: bool) -> None:
        """Send nothing new to a replica, or send again."""
        (self._draining.add if draining else self._draining.discard)(replica_id)

    def deployed(self) -> dict[str, str]:
        """Return the digest that each application was deployed with last."""
        return self._deployed

    def note_deployed(self, digests: dict[str, str]) -> None:
        """Note applications that run as they were deployed just now."""
        self._deployed |= digests

    def roster(self) -> Roster:
        """Return everything whose lease has not expired."""
        oldest = time.monotonic() - LEASE_S
        self._gateways = {key: lease for key, lease in self._gateways.items() if lease[1] >= oldest}
        self._gangs = {key: lease for key, lease in self._gangs.items() if lease[1] >= oldest}
        self._draining &= {entry.replica_id for entry, _ in self._gangs.values()}
        return Roster(
            gateways=tuple(entry for entry, _ in self._gateways.values()),
            gangs=tuple(entry for entry, _ in self._gangs.values()),
            meter_url=self._meter_url,
            disabled=tuple(sorted(self._disabled)),
            draining=tuple(sorted(self._draining)),
        )

    def _free_shard(self, model: str) -> int:
        taken = {entry.shard for entry, _ in self._gangs.values() if entry.model == model}
        return next(slot for slot in range(len(taken) + 1) if slot not in taken)

    def _end(self, gang_id: str, why: str) -> None:
        self._ended[gang_id] = why
        while len(self._ended) > ENDED_REMEMBERED:
            del self._ended[next(iter(self._ended))]


RegistryActor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, max_concurrency=1)(Registry)


def registry() -> ActorHandle:
    """Return the registry, started on the head node if it isn't there."""
    head = next((n for n in ray.nodes() if n["Alive"] and "node:__internal_head__" in n["Resources"]), None)
    pin = NodeAffinitySchedulingStrategy(head["NodeID"], soft=True) if head else "DEFAULT"
    return RegistryActor.options(
        name=REGISTRY, namespace=NAMESPACE, lifetime="detached", get_if_exists=True, scheduling_strategy=pin
    ).remote()
