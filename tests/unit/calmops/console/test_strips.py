"""Records become the token strip's rows."""

from calmops.console.strips import FORGET_NS, KEPT_TOKENS, Strips
from calmops.messages.record import Closed, FrameRecord, Opened, SequenceStep

MS = 1_000_000


def opened(request_id: str, at_ms: float = 0) -> Opened:
    return Opened(
        request_id=request_id,
        model="m",
        gateway_id="g",
        at_ns=int(at_ms * MS),
        prompt_tokens=3,
        max_tokens=9,
        choices=1,
        stream=True,
    )


def step(request_id: str, at_ms: float, *, gap_ms: float | None = 10.0, tokens: int = 1, **more: int) -> FrameRecord:
    """Make a step of 5 ms with one sequence; ``rows``, ``attempt`` and ``choice`` may be given."""
    share = SequenceStep(
        request_id=request_id,
        attempt=more.get("attempt", 1),
        choice=more.get("choice", 0),
        index=0,
        tokens=tokens,
        released=tokens,
        gap_engine_ns=None,
        gap_gateway_ns=None if gap_ms is None else int(gap_ms * MS),
    )
    return FrameRecord(
        replica_id="r",
        gang_id="g",
        shard=0,
        model="m",
        step=1,
        at_ns=int(at_ms * MS),
        duration_ns=5 * MS,
        rows=more.get("rows", 1),
        sequences=(share,),
    )


def closed(request_id: str, at_ms: float, outcome: str = "completed") -> Closed:
    return Closed(
        request_id=request_id,
        model="m",
        gateway_id="g",
        at_ns=int(at_ms * MS),
        outcome=outcome,
        attempts=1,
        prompt_tokens=3,
        journaled=1,
        delivered=1,
        discarded=0,
        ttft_ns=1,
        duration_ns=1,
    )


def test_a_request_queues_is_prefilled_decodes_and_ends() -> None:
    strips, states = Strips(), []
    for record, now_ms in (
        (opened("a", 100), 130),
        (step("a", 145, tokens=0), 150),
        (step("a", 155, gap_ms=None), 156),
        (closed("a", 200), 500),
    ):
        strips.see(record)
        (row,) = strips.shown(now_ms * MS)["requests"]
        states.append((row["state"], row["queue_ms"], row["prefill_ms"]))
    assert states == [("queued", 30, 0), ("prefill", 40, 10), ("decoding", 40, 15), ("ended", 40, 15)]


def test_each_token_has_its_gap_and_the_rows_of_its_step_and_a_migration_has_a_mark() -> None:
    strips = Strips()
    strips.see(opened("a"))
    for frame in (
        step("a", 10, gap_ms=None),
        step("a", 20, rows=4),
        step("a", 500, gap_ms=480, tokens=2, attempt=2, rows=2),
    ):
        strips.see(frame)
    (row,) = strips.shown(600 * MS)["requests"]
    assert (row["gaps_ms"], row["rows"], row["marks"]) == ([None, 10, 480, 0], [1, 4, 2, 2], [{"index": 2}])


def test_only_the_latest_tokens_and_only_the_first_choice_are_kept() -> None:
    strips = Strips()
    strips.see(opened("a"))
    for number in range(KEPT_TOKENS + 7):
        strips.see(step("a", number, attempt=1 + (number > 2)))
        strips.see(step("a", number, choice=1))
    (row,) = strips.shown(0)["requests"]
    assert (row["first"], len(row["gaps_ms"]), row["marks"]) == (7, KEPT_TOKENS, [])


def test_ended_and_silent_requests_make_room_and_live_ones_do_not() -> None:
    strips = Strips(kept=2)
    for record in (opened("a"), opened("b"), closed("a", 1), opened("c", 2), opened("d", 3)):
        strips.see(record)
    shown = strips.shown(4 * MS)
    assert ([row["id"] for row in shown["requests"]], shown["hidden"]) == (["c", "b"], 1)
    strips.see(closed("d", 5))
    assert strips.shown(6 * MS)["hidden"] == 0
    later_ms = FORGET_NS / MS + 1
    strips.see(step("c", later_ms))
    strips.see(opened("e", later_ms))
    assert [row["id"] for row in strips.shown(0)["requests"]] == ["e", "c"]
