"""What the cluster knows of itself: gateways, gangs and the meter, as the health actor keeps them."""

from pathlib import Path

from msgspec import Struct

from actors.node_facts import NodeFacts
from calmops.foundation.sockets import Channel


class Member(Struct, frozen=True, kw_only=True):
    """One rank's process. ``started_ticks`` tells a reused pid from the process that was meant."""

    rank: int
    pid: int
    started_ticks: int


class GangEntry(Struct, frozen=True, kw_only=True):
    """One life of a gang."""

    model: str
    replica_id: str
    gang_id: str
    node_id: str
    members: tuple[Member, ...]
    fingerprint: str
    tp: int
    shard: int = -1  # given by the health actor
    node: NodeFacts = NodeFacts()


class GatewayEntry(Struct, frozen=True, kw_only=True):
    """A gateway that takes frames, and where its operator API answers on its own."""

    gateway_id: str
    channel: Channel
    node_id: str


class Roster(Struct, frozen=True, kw_only=True):
    """One reading of it all."""

    gateways: tuple[GatewayEntry, ...] = ()
    gangs: tuple[GangEntry, ...] = ()
    meter_url: str | None = None
    disabled: tuple[str, ...] = ()  # models that an operator has taken out of service
    draining: tuple[str, ...] = ()  # replica ids that take nothing new


def started_ticks(pid: int) -> int | None:
    """Start time of a living process, in clock ticks since boot; None if it is gone (a zombie is gone)."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal or a tracer."""
    return (_stat(pid) or ["-"])[0] in "Tt"


def member(rank: int, pid: int) -> Member:
    """The entry of a living process."""
    ticks = started_ticks(pid)
    assert ticks is not None, f"process {pid} of rank {rank} is not alive"
    return Member(rank=rank, pid=pid, started_ticks=ticks)


def _stat(pid: int) -> list[str] | None:
    """/proc/PID/stat from the state on; None if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
