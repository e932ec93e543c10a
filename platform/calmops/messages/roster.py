"""What the cluster knows of itself: gateways, gangs, the meter and nodes, as the registry keeps them and reports them."""

from typing import Self

from msgspec import Struct

from calmops.foundation.live_process import started_ticks
from calmops.foundation.sockets import Channel

# The version of what gateways, gangs, meter, registry and reapers say to each other. The detached actors' names carry it, so
# that a process never meets an actor of another version, also when `up` redeploys onto a running cluster.
PROTOCOL = 2


class Member(Struct, frozen=True, kw_only=True):
    """One rank's process. ``started_ticks`` tells a reused pid from the process that was meant."""

    rank: int
    pid: int
    started_ticks: int

    @classmethod
    def living(cls, rank: int, pid: int) -> Self:
        """Describe a process that lives."""
        ticks = started_ticks(pid)
        assert ticks is not None, f"process {pid} of rank {rank} is not alive"
        return cls(rank=rank, pid=pid, started_ticks=ticks)


class GpuFacts(Struct, frozen=True, kw_only=True):
    """One GPU, as NVML describes it."""

    index: int
    memory_used_bytes: int
    memory_total_bytes: int
    busy: float  # share of the last sampling period, 0 to 1


class NodeFacts(Struct, frozen=True, kw_only=True):
    """One node. ``oom_kills`` counts from the node's start; None where its kernel doesn't say."""

    oom_kills: int | None = None
    gpus: tuple[GpuFacts, ...] = ()


class GangEntry(Struct, frozen=True, kw_only=True):
    """One life of a gang."""

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
    """A gateway that takes frames, and where its operator API answers on its own."""

    gateway_id: str
    channel: Channel
    node_id: str


class Roster(Struct, frozen=True, kw_only=True):
    """One reading of all that is there."""

    gateways: tuple[GatewayEntry, ...] = ()
    gangs: tuple[GangEntry, ...] = ()
    meter_url: str | None = None
    disabled: tuple[str, ...] = ()  # models that an operator has taken out of service
    draining: tuple[str, ...] = ()  # replica ids that take nothing new
