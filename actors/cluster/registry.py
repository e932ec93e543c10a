"""The cluster's roster: gateways and replicas meet here, lost gangs are reported here. One named actor.

It keeps leases, not truths: everybody reports again each second, so it may be restarted with nothing saved.
"""

import logging
import time

import msgspec
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.cluster.reaper import NAMESPACE, reaper_of
from calmops.foundation.liveness import LEASE_S
from calmops.messages.roster import GangEntry, GatewayEntry, Roster

_log = logging.getLogger("calmops.health")


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, max_concurrency=1)
class Registry:
    """Who is there, under leases."""

    def __init__(self) -> None:
        self._gateways: dict[str, tuple[GatewayEntry, float]] = {}
        self._gangs: dict[str, tuple[GangEntry, float]] = {}
        self._ended: dict[str, str] = {}  # gang id -> why; the newest 1,000
        self._meter_url: str | None = None
        self._disabled: set[str] = set()
        self._draining: set[str] = set()
        self._deployed: dict[str, str] = {}

    def gateway_here(self, entry: GatewayEntry) -> Roster:
        """A gateway's lease; the roster in return."""
        self._gateways[entry.gateway_id] = (entry, time.monotonic())
        return self.roster()

    def gang_here(self, entry: GangEntry) -> tuple[int, Roster]:
        """A gang's lease; its shard (the lowest slot of its model that is free) and the roster."""
        known = self._gangs.get(entry.gang_id)
        shard = known[0].shard if known else self._free_shard(entry.model)
        entry = msgspec.structs.replace(entry, shard=shard)
        if entry.gang_id not in self._ended:
            self._gangs[entry.gang_id] = (entry, time.monotonic())
        reaper_of(entry.node_id).hold.remote(entry.gang_id, entry.members)
        return shard, self.roster()

    def gang_lost(self, gang_id: str, why: str) -> bool:
        """Somebody saw this gang die, stall or fall silent: end it, once. False if it was ended before."""
        known = self._gangs.pop(gang_id, None)
        if gang_id in self._ended:
            return False
        _log.warning("gang %s is ended: %s", gang_id, why)
        self._end(gang_id, why)
        if known is not None:
            reaper_of(known[0].node_id).kill.remote(gang_id)
        return known is not None

    def gang_leaves(self, gang_id: str) -> None:
        """The gang ends by itself, in order."""
        known = self._gangs.pop(gang_id, None)
        self._end(gang_id, "left")
        if known is not None:
            reaper_of(known[0].node_id).release.remote(gang_id)

    def meter_here(self, url: str) -> Roster:
        """Where the active meter answers; the roster in return."""
        self._meter_url = url
        return self.roster()

    def set_disabled(self, model: str, disabled: bool) -> None:
        """Take a model out of service, or put it back."""
        (self._disabled.add if disabled else self._disabled.discard)(model)

    def set_draining(self, replica_id: str, draining: bool) -> None:
        """Send nothing new to a replica, or send again."""
        (self._draining.add if draining else self._draining.discard)(replica_id)

    def deployed(self) -> dict[str, str]:
        """How each application was deployed last: its digest."""
        return self._deployed

    def note_deployed(self, digests: dict[str, str]) -> None:
        """Applications that run as they were deployed just now."""
        self._deployed |= digests

    def roster(self) -> Roster:
        """All whose lease runs."""
        oldest = time.monotonic() - LEASE_S
        self._gateways = {k: v for k, v in self._gateways.items() if v[1] >= oldest}
        self._gangs = {k: v for k, v in self._gangs.items() if v[1] >= oldest}
        replicas = {entry.replica_id for entry, _ in self._gangs.values()}
        self._draining &= replicas
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
        while len(self._ended) > 1000:
            del self._ended[next(iter(self._ended))]


def registry() -> "ray.actor.ActorHandle":
    """the registry, started on the head node if it isn't there."""
    head = next((n for n in ray.nodes() if n["Alive"] and "node:__internal_head__" in n["Resources"]), None)
    pin = NodeAffinitySchedulingStrategy(head["NodeID"], soft=True) if head else "DEFAULT"
    return Registry.options(
        name="health", namespace=NAMESPACE, lifetime="detached", get_if_exists=True, scheduling_strategy=pin
    ).remote()
