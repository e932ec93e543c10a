"""Defines the roster: the gateways, gangs, meter and nodes of the cluster, as the registry keeps and reports them."""

from typing import Self

from msgspec import Struct

from calmops.foundation.live_process import started_ticks
from calmops.foundation.sockets import Channel

# The version of what gateways, gangs, meter, registry and reapers say to each other. The detached actors' names carry
# it, so that a process never meets an actor of another version, also when `up` redeploys onto a running cluster.
PROTOCOL = 2


class Member(Struct, frozen=True, kw_only=True):
    """Names one rank's process. ``started_ticks`` distinguishes it from a later process under the same pid."""

    rank: int
    pid: int
    started_ticks: int

    @classmethod
    def living(cls, rank: int, pid: int) -> Self:
        """Return the member of a process that lives; one that doesn't is an AssertionError."""
        ticks = started_ticks(pid)
        assert ticks is not None, f"process {pid} of rank {rank} is not alive"
        return cls(rank=rank, pid=pid, started_ticks=ticks)


class GpuFacts(Struct, frozen=True, kw_only=True):
    """Describes one GPU, as NVML reports it."""

    index: int
    memory_used_bytes: int
    memory_total_bytes: int
    busy: float  # share of the last sampling period, 0 to 1


class NodeFacts(Struct, frozen=True, kw_only=True):
    """Describes one node. ``oom_kills`` counts from the node's start; None where its kernel doesn't report it."""

    oom_kills: int | None = None
    gpus: tuple[GpuFacts, ...] = ()


class GangEntry(Struct, frozen=True, kw_only=True):
    """Describes one life of a gang."""

    model: str
    replica_id: str
    gang_id: str
    node_id: str
    members: tuple[Member, ...]
    fingerprint: str
    tp: int
    shard: int = -1  # given by the registry
    node: NodeFacts = NodeFacts()


class GatewayEntry(Struct, frozen=True, kw_only=True):
    """Describes a gateway: where it takes frames, and where its own operator API answers."""

    gateway_id: str
    channel: Channel
    node_id: str


class Roster(Struct, frozen=True, kw_only=True):
    """Holds one reading of all that is there."""

    gateways: tuple[GatewayEntry, ...] = ()
    gangs: tuple[GangEntry, ...] = ()
    meter_url: str | None = None
    disabled: tuple[str, ...] = ()  # models that an operator has taken out of service
    draining: tuple[str, ...] = ()  # ids of replicas that take nothing new
