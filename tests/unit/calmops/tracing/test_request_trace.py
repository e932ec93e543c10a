"""A request's records become its spans."""

from typing import Any

import msgspec

from calmops.messages.record import FrameRecord, Move
from calmops.tracing.context import begin
from calmops.tracing.request_trace import RequestTrace
from calmops.tracing.spans import Span
from tests.support.trace_records import MS, START_NS, closed, opened, step


def traced(*frames: FrameRecord, **ending: Any) -> list[Span]:
    trace = RequestTrace(opened(), begin("r", START_NS))
    for frame in frames:
        trace.step(frame, frame.sequences[0])
    return trace.spans(closed(100, **ending))


def times_ms(spans: list[Span]) -> list[tuple[str, float, float]]:
    return [(span.name, (span.start_ns - START_NS) / MS, (span.end_ns - START_NS) / MS) for span in spans]


def test_a_request_has_queue_prefill_and_decode_spans() -> None:
    spans = traced(step(25, tokens=0, prefilled=16), step(30, prefilled=4), step(40), step(52))
    assert times_ms(spans) == [("request", 0, 100), ("queue", 0, 20), ("prefill", 20, 30), ("decode", 30, 52)]
    request, _, prefill, decode = spans
    assert {span.parent_id for span in spans[1:]} == {request.span_id}
    assert len({span.span_id for span in spans}) == 4
    assert prefill.attributes["calmops.tokens.prefilled"] == 20
    assert decode.attributes["calmops.token.gap_ms"] == (10.0, 10.0, 10.0)
    assert decode.attributes["calmops.token.rows"] == (3, 3, 3)
    assert (request.attributes["calmops.request_id"], request.attributes["gen_ai.usage.input_tokens"]) == ("r", 7)
    assert request.error is None


def test_a_migration_is_an_event_and_each_attempt_has_its_own_spans() -> None:
    moves = (Move(1, "r1", START_NS + 30 * MS, 2),)
    spans = traced(step(10), step(20), step(60, attempt=2, recomputed=9), step(70, attempt=2), attempts=2, moves=moves)
    assert times_ms(spans)[4:] == [("queue", 20, 55), ("prefill", 55, 60), ("decode", 60, 70)]
    (event,) = spans[0].events
    assert (event.at_ns, event.attributes) == (
        START_NS + 30 * MS,
        {"calmops.from": "r1", "calmops.to": "r2", "calmops.token.index": 2},
    )
    assert spans[5].attributes["calmops.tokens.recomputed"] == 9


def test_an_attempt_that_was_lost_before_its_first_frame_has_only_a_queue_span() -> None:
    request, *children = traced(
        step(50, attempt=2), step(60, attempt=2), attempts=2, moves=(Move(1, "r1", START_NS + 30 * MS, 0),)
    )
    assert times_ms(children) == [("queue", 0, 30), ("queue", 30, 45), ("prefill", 45, 50), ("decode", 50, 60)]
    assert children[0].attributes == {"calmops.attempt": 1, "calmops.replica_id": "r1"}
    assert request.events[0].attributes == {"calmops.from": "r1", "calmops.to": "r2", "calmops.token.index": 0}


def test_a_last_attempt_that_no_replica_served_waits_until_the_end() -> None:
    spans = traced(step(10), attempts=2, moves=(Move(1, "r1", START_NS + 30 * MS, 1),), outcome="timeout")
    assert times_ms(spans)[-1] == ("queue", 10, 100)
    assert spans[0].events[0].attributes == {"calmops.from": "r1", "calmops.token.index": 1}


def test_a_request_that_never_ran_queues_until_its_end_and_has_its_error() -> None:
    request, queue = traced(outcome="failed", ttft_ns=None, delivered=0, detail="no replica was left")
    assert request.error == "no replica was left"
    assert times_ms([queue]) == [("queue", 0, 100)]


def test_no_span_lies_outside_its_request_even_if_clocks_differ() -> None:
    for shift_ms in (-500, 500):
        request, *children = traced(step(30 + shift_ms), step(40 + shift_ms))
        for span in children:
            assert request.start_ns <= span.start_ns <= span.end_ns <= request.end_ns


def test_the_same_records_give_the_same_ids() -> None:
    assert traced(step(10)) == traced(step(10))


def test_a_requests_kind_has_its_name_in_the_conventions() -> None:
    for kind, operation in (("completion", "text_completion"), ("chat", "chat"), ("", None)):
        trace = RequestTrace(msgspec.structs.replace(opened(), kind=kind), begin("r", START_NS))
        request, *_ = trace.spans(closed(100))
        assert request.attributes.get("gen_ai.operation.name") == operation
