"""One table holds every bound on silence: how long each part may be silent before another part acts, in seconds.

ORDERS says which bound must exceed which, and why; a test checks them all, and config.contradictions checks those
that a setting takes part in. A bound that is a setting appears here by its name: ``stall_s`` is failover.stall_s.

Frames: a replica's engine thread sends a heartbeat to each gateway every stall_s / BEATS_PER_STALL while it has nothing
  else to send. A gateway regards a gang as silent after max(stall_s, LONGEST_STEPS x its longest recent step), and as
  dead after DEAD_STALLS times that (streams/gang_liveness.py draws the states).
Gateways: each gateway sends every replica a sign of life every GATEWAY_ALIVE_S. A replica cancels the sequences of a
  gateway that is silent for GATEWAY_SILENT_S; after GATEWAY_GONE_S it drops the link if the roster doesn't list the
  gateway either.
Roster: gateways, gangs and the meter report every REPORT_S; the registry forgets a member that hasn't reported for
  LEASE_S.
Processes: the reaper looks every REAPER_POLL_S and ends a gang once one of its ranks has been stopped for STOPPED_S.
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
STOPPED_S = 0.3  # a rank that is stopped for this long won't go on by itself

FRAMES_LAG_S = 1.0  # how long the last frames of a finished call may take
ROUTE_LIMIT_S = 30.0  # how long Serve may take to route a request to a replica that sends frames

HEARTBEAT_RECORD_S = 1.0  # at most one idle heartbeat per replica reaches the log in this time
RUNS_S = 10.0  # a shard counts as running if the meter has read a record of it within this time
GAUGES_S = 60.0  # a shard without a record for this long is gone, and its gauges with it


class Order(NamedTuple):
    """States that ``larger`` must be at least ``times`` as long as ``smaller``, and why."""

    larger: str
    times: float
    smaller: str
    why: str


ORDERS = (
    Order("GATEWAY_SILENT_S", 3, "GATEWAY_ALIVE_S", "two signs of life of a gateway may be late"),
    Order("GATEWAY_SILENT_S", 2, "beat_s", "a gateway's signs of life wait for its ticks, every stall_s / 5"),
    Order("GATEWAY_GONE_S", 2, "LEASE_S", "the roster must have forgotten a gateway before its link is dropped"),
    Order("GATEWAY_GONE_S", 2, "GATEWAY_SILENT_S", "sequences are cancelled before the link goes"),
    Order("LEASE_S", 3, "REPORT_S", "two reports may be late"),
    Order("REPORT_LIMIT_S", 1, "LEASE_S", "no sender asks for the registry again while leases still run"),
    Order("STOPPED_S", 3, "REAPER_POLL_S", "one look may be late"),
    Order("FRAMES_LAG_S", 2, "beat_s", "a heartbeat shows that the last frame is lost"),
    Order("ROUTE_LIMIT_S", 2, "no_replica_s", "Serve may be slow while a replica is heard"),
    Order("RUNS_S", 3, "HEARTBEAT_RECORD_S", "two heartbeats may be late"),
    Order("GAUGES_S", 2, "RUNS_S", "a running shard has gauges"),
)


def broken(stall_s: float, no_replica_s: float) -> list[Order]:
    """Return the orders that these settings (failover.stall_s, failover.no_replica_s) break."""
    bounds = {name: value for name, value in globals().items() if name.endswith("_S")}
    bounds |= {"stall_s": stall_s, "no_replica_s": no_replica_s, "beat_s": stall_s / BEATS_PER_STALL}
    return [order for order in ORDERS if bounds[order.larger] < order.times * bounds[order.smaller]]
