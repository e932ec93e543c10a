"""Ranks a model's replicas for one attempt, after the gateway has placed it and before Serve sends it. Pure.

Knows no Serve and no other attempt: what a replica has in flight is handed in.
"""

from typing import NamedTuple
from zlib import crc32

from calmops.messages.placement import Placement


class ReplicaLoad(NamedTuple):
    """Holds what a gateway knows of one replica when it routes an attempt."""

    replica_id: str
    tokens: int  # in flight, of all gateways
    fingerprint: str | None  # None before its first frame


class Cost(NamedTuple):
    """Ranks a replica for an attempt: the least comes first, fields compared in this order."""

    unequal: bool  # its fingerprint differs from that of the replica that decoded so far: exactness would be lost
    tokens: int  # in flight
    lot: int  # draws among equals: the same for one request and replica, different for another request


def cost(placement: Placement | None, load: ReplicaLoad) -> Cost:
    """Return how a replica ranks for an attempt; ``placement`` is None for a call that carries none."""
    request_id, wanted = ("", None) if placement is None else (placement.request_id, placement.fingerprint)
    unequal = wanted is not None and load.fingerprint != wanted
    return Cost(unequal, load.tokens, crc32(f"{request_id}/{load.replica_id}".encode()))
