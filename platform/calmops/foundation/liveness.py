"""Every bound on silence, in one table: who may be silent how long before somebody else acts. Seconds.

ORDERS says which bound must exceed which, and why; a test checks them all, and config.contradictions those that a setting
takes part in. A bound that is a setting appears here by its name: ``stall_s`` is failover.stall_s.

Frames: a replica's engine thread beats to each gateway every stall_s / BEATS_PER_STALL while it has nothing to send.
  A gateway takes a gang for silent after max(stall_s, LONGEST_STEPS x its longest recent step), and for dead after
  DEAD_STALLS times that (streams/gang_liveness.py draws the states).
Gateways: each tells every replica that it lives, every GATEWAY_ALIVE_S. A replica cancels the sequences of a gateway that is
  silent for GATEWAY_SILENT_S, and drops its link after GATEWAY_GONE_S if the roster doesn't list it either.
Roster: gateways, gangs and the meter report every REPORT_S; the registry forgets what hasn't reported for LEASE_S.
Processes: the reaper looks every REAPER_POLL_S and ends a gang one of whose ranks has been stopped for STOPPED_S.
"""

from typing import NamedTuple

BEATS_PER_STALL = 5
LONGEST_STEPS = 5
DEAD_STALLS = 10

GATEWAY_ALIVE_S = 0.5
GATEWAY_SILENT_S = 2.0
GATEWAY_GONE_S = 10.0

REPORT_S = 0.5
REPORT_LIMIT_S = 10.0  # how long a report may take to be answered before its sender asks for the registry again
LEASE_S = 5.0

REAPER_POLL_S = 0.05
STOPPED_S = 0.3  # a rank that is stopped for so long won't go on by itself

FRAMES_LAG_S = 1.0  # how long the last frames of a finished call may take
ROUTE_LIMIT_S = 30.0  # the longest that Serve may take to route to a replica that is heard

HEARTBEAT_RECORD_S = 1.0  # at most one idle heartbeat per replica reaches the log in this time
RUNS_S = 10.0  # a shard that the meter has heard of within this time counts as running
GAUGES_S = 60.0  # a shard that the meter hasn't heard of for so long has gone, and its gauges with it


class Order(NamedTuple):
    """``larger`` must be at least ``times`` as long as ``smaller``."""

    larger: str
    times: float
    smaller: str
    why: str


ORDERS = (
    Order("GATEWAY_SILENT_S", 3, "GATEWAY_ALIVE_S", "two beats of a gateway may be late"),
    Order("GATEWAY_SILENT_S", 2, "beat_s", "a gateway's beats wait for its ticks, every stall_s / 5"),
    Order("GATEWAY_GONE_S", 2, "LEASE_S", "the roster must have forgotten a gateway before its link is dropped"),
    Order("GATEWAY_GONE_S", 2, "GATEWAY_SILENT_S", "sequences are cancelled before the link goes"),
    Order("LEASE_S", 3, "REPORT_S", "two reports may be late"),
    Order("REPORT_LIMIT_S", 1, "LEASE_S", "a slow registry isn't asked for again while leases still run"),
    Order("STOPPED_S", 3, "REAPER_POLL_S", "one look may be late"),
    Order("FRAMES_LAG_S", 2, "beat_s", "a heartbeat tells that the last frame is lost"),
    Order("ROUTE_LIMIT_S", 2, "no_replica_s", "Serve may be slow while a replica is heard"),
    Order("RUNS_S", 3, "HEARTBEAT_RECORD_S", "two heartbeats may be late"),
    Order("GAUGES_S", 2, "RUNS_S", "a shard that runs has gauges"),
)


def broken(stall_s: float, no_replica_s: float) -> list[Order]:
    """Return the orders that these settings (failover.stall_s, failover.no_replica_s) break."""
    bounds = {name: value for name, value in globals().items() if name.endswith("_S")}
    bounds |= {"stall_s": stall_s, "no_replica_s": no_replica_s, "beat_s": stall_s / BEATS_PER_STALL}
    return [order for order in ORDERS if bounds[order.larger] < order.times * bounds[order.smaller]]
