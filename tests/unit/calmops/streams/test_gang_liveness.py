"""A gateway sees which gangs are silent, lost or back, and whose frames have gaps."""

from calmops.foundation.liveness import DEAD_STALLS
from calmops.messages.frame import Frame, StepFacts
from calmops.streams.gang_liveness import GangLiveness

STALL_NS = 500_000_000
TICK_NS = 100_000_000


def anyone(_replica_id: str) -> bool:
    """Say that every replica takes placements."""
    return True


def frame(link_seq: int, *, gang: str = "g1", duration_ns: int | None = None, last: bool = False) -> Frame:
    facts = None
    if duration_ns is not None:
        facts = StepFacts(
            started_ns=0, duration_ns=duration_ns, rows=1, decode_rows=1, prefill_rows=0, running=1, waiting=0,
            kv_blocks_used=1, kv_blocks_total=8, preempted=0,
        )  # fmt: skip
    return Frame(
        replica_id=f"replica-{gang}", gang_id=gang, shard=0, model="m", fingerprint="f", step=link_seq,
        link_seq=link_seq, engine_ns=0, facts=facts, last=last,
    )  # fmt: skip


def ticks(gangs: GangLiveness, start_ns: int, end_ns: int) -> tuple[str, ...]:
    """Look every tick, and return the gangs that fell silent."""
    silent: tuple[str, ...] = ()
    for now_ns in range(start_ns, end_ns, TICK_NS):
        silent += gangs.newly_silent(now_ns)
    return silent


def test_a_gap_in_link_seq_is_reported_and_a_heartbeat_counts_as_heard() -> None:
    gangs = GangLiveness(STALL_NS, anyone)
    assert not gangs.hear(frame(1), 0).gap
    assert not gangs.hear(frame(2), 1).gap
    assert gangs.hear(frame(4), 2).gap


def test_a_gang_is_silent_after_the_stall_bound_and_not_before() -> None:
    gangs = GangLiveness(STALL_NS, anyone)
    gangs.hear(frame(1), 0)
    assert ticks(gangs, 0, STALL_NS + 1) == ()
    assert ticks(gangs, STALL_NS, STALL_NS + 2 * TICK_NS) == ("g1",)
    assert gangs.lost_replicas() == (), "the only gang of its model is waited for"
    gangs.hear(frame(1, gang="g2"), STALL_NS)
    assert gangs.lost_replicas() == ("replica-g1",)


def test_a_gang_that_takes_no_placements_is_no_reason_to_leave_a_silent_one() -> None:
    taking = {"replica-g1"}
    gangs = GangLiveness(STALL_NS, taking.__contains__)
    gangs.hear(frame(1), 0)
    ticks(gangs, 0, 2 * STALL_NS)
    gangs.hear(frame(1, gang="g2"), 2 * STALL_NS)
    assert gangs.forsaken() == ()
    taking.add("replica-g2")
    assert gangs.forsaken() == ("g1",)
    gangs.lose("g2")
    assert gangs.forsaken() == (), "a gang known to be dead is no reason either"


def test_a_silent_gang_that_speaks_again_is_used_again_and_one_that_does_not_is_dead() -> None:
    gangs = GangLiveness(STALL_NS, anyone)
    gangs.hear(frame(1), 0)
    gangs.hear(frame(1, gang="g2"), 0)
    ticks(gangs, 0, 2 * STALL_NS)
    gangs.hear(frame(2), 2 * STALL_NS)
    assert gangs.lost_replicas() == ("replica-g2",)
    assert gangs.dead(DEAD_STALLS * STALL_NS) == ()
    assert gangs.dead(DEAD_STALLS * STALL_NS + 1) == ("g2",)


def test_a_gang_of_long_steps_may_be_silent_for_five_of_them() -> None:
    gangs = GangLiveness(STALL_NS, anyone)
    gangs.hear(frame(1, duration_ns=400_000_000), 0)
    assert ticks(gangs, 0, 2_000_000_001) == ()
    assert ticks(gangs, 2_000_000_000, 2_200_000_000) == ("g1",)


def test_a_gateway_that_was_held_up_itself_blames_nobody() -> None:
    gangs = GangLiveness(STALL_NS, anyone)
    gangs.hear(frame(1), 0)
    gangs.newly_silent(TICK_NS)
    assert gangs.newly_silent(10 * STALL_NS) == ()


def test_a_lost_gang_stays_fenced_and_its_replica_is_named() -> None:
    gangs = GangLiveness(STALL_NS, anyone)
    gangs.hear(frame(1), 0)
    gangs.lose("g1")
    assert gangs.hear(frame(2), 1).lost
    assert gangs.lost_replicas() == ("replica-g1",)
    assert gangs.gangs() == ()
    assert gangs.gang_of("replica-g1") is None
    gangs.hear(frame(1, gang="g2"), 2)
    assert gangs.gang_of("replica-g2") == "g2"
