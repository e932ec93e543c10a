"""One request from acceptance to its end, over replicas that answer, fail, fall silent or aren't there."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError

from actors.gateway.attempts import AttemptDriver
from actors.gateway.live_request import LiveRequest
from actors.gateway.routing_book import BOOK
from calmops.foundation.clock import SystemClock
from calmops.foundation.errors import DeadlineError, LoadError, UnavailableError
from calmops.intake.validate import Intake
from calmops.messages.frame import Delta, Frame
from calmops.messages.placement import Placement, Summary
from calmops.messages.request import GenerationRequest, SamplingParams
from calmops.streams.journal import Journal
from calmops.tracing.context import begin

TOKENS = 4
Answer = Callable[[Placement, LiveRequest], Awaitable[Summary]]


@dataclass
class Switches:
    """What the driver needs of a frame exchange."""

    heard: bool = True  # whether some replica of the model is
    cancelled: list[tuple[int, str]] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)

    @property
    def liveness(self) -> "Switches":
        return self

    def lost_replicas(self) -> tuple[str, ...]:
        return ("long-lost",)

    def serves(self, _model: str, _lost: tuple[str, ...]) -> bool:
        return self.heard

    def died(self, replica_id: str, _why: str) -> None:
        self.dead.append(replica_id)

    def cancel(self, live: LiveRequest, reason: str) -> None:
        self.cancelled.append((live.journal.attempt, reason))


class Handle:
    """Serve's handle: each attempt goes to the next replica of the script."""

    def __init__(self, live: LiveRequest, *answers: Answer) -> None:
        self._live = live
        self._answers = list(answers)
        self.placements: list[Placement] = []

    @property
    def generate(self) -> "Handle":
        return self

    def remote(self, placement: Placement) -> Any:
        self.placements.append(placement)
        if not self._answers:
            return Call(asyncio.sleep(60))
        BOOK.routed(placement, f"replica-{placement.attempt}")
        return Call(self._answers.pop(0)(placement, self._live))


class Call:
    """A call under way."""

    def __init__(self, answer: Awaitable[Any]) -> None:
        self._task = asyncio.ensure_future(answer)

    def __await__(self) -> Any:
        return self._task.__await__()

    def cancel(self) -> None:
        self._task.cancel()


def live_request(timeout_s: float = 30.0) -> LiveRequest:
    request = GenerationRequest(
        request_id="r", model="m", prompt_ids=(1, 2), params=SamplingParams(max_tokens=TOKENS), stream=True, timeout_s=timeout_s
    )  # fmt: skip
    intake = Intake(request=request, kind="completion", stream=True, include_usage=False, echo=False, prompt_text="")
    return LiveRequest(intake, Journal(request, "gw", SystemClock().now_ns()), begin("r", 0))


def say(placement: Placement, live: LiveRequest, until: int) -> None:
    """Frames of an attempt: tokens up to ``until`` of TOKENS."""
    for index in range(live.journal.journaled, until):
        delta = Delta(
            request_id="r", stream_token=placement.stream_token, attempt=placement.attempt, choice=0, index=index,
            token_ids=(index,), text="x", released=index + 1, finish_reason="length" if index + 1 == TOKENS else None,
        )  # fmt: skip
        frame = Frame(
            replica_id="x",
            gang_id="g",
            shard=0,
            model="m",
            fingerprint="f",
            step=1,
            link_seq=1,
            engine_ns=0,
            deltas=(delta,),
        )
        assert live.take(delta, frame, 0) is not None


async def answers(placement: Placement, live: LiveRequest) -> Summary:
    say(placement, live, TOKENS)
    return Summary(
        request_id="r",
        stream_token=placement.stream_token,
        attempt=placement.attempt,
        replica_id="",
        fingerprint="f",
        choices=(),
    )


async def is_cancelled(_placement: Placement, _live: LiveRequest) -> Summary:
    raise asyncio.CancelledError  # by Serve, as it does to the calls of an HTTP request whose client left


async def dies_halfway(placement: Placement, live: LiveRequest) -> Summary:
    say(placement, live, 2)
    raise ActorDiedError


async def is_unavailable_halfway(placement: Placement, live: LiveRequest) -> Summary:
    say(placement, live, 2)
    raise ActorUnavailableError("it doesn't answer", None)


async def ends_halfway(placement: Placement, live: LiveRequest) -> Summary:
    say(placement, live, 2)
    live.lose("it ended")
    live.lose("it fell silent", perhaps=True)
    await asyncio.sleep(60)
    raise AssertionError("nobody waits for it")


async def is_slow(placement: Placement, live: LiveRequest) -> Summary:
    live.lose("it fell silent", perhaps=True)
    await asyncio.sleep(0.05)
    return await answers(placement, live)


async def is_full(_placement: Placement, _live: LiveRequest) -> Summary:
    raise LoadError("256 sequences wait")


async def hangs(_placement: Placement, _live: LiveRequest) -> Summary:
    await asyncio.sleep(60)
    raise AssertionError("nobody waits for it")


def drive(*script: Answer, timeout_s: float = 30.0, heard: bool = True) -> tuple[LiveRequest, Handle, Switches]:
    """Drive one request over replicas that answer so, in turn; after them none takes a call."""

    async def run() -> tuple[LiveRequest, Handle, Switches]:
        live, switches = live_request(timeout_s), Switches(heard=heard)
        handle = Handle(live, *script)
        driver = AttemptDriver(
            switches,  # type: ignore[arg-type]  # it has what the driver uses
            lambda _model: handle,
            lambda: ("draining",),
            max_attempts=3,
            no_replica_s=0.2,
        )
        await asyncio.wait_for(driver.drive(live, handle), 10)
        return live, handle, switches

    ended = asyncio.run(run())
    assert [BOOK.tokens(f"replica-{attempt}") for attempt in range(1, 4)] == [0, 0, 0], "tokens stay in flight"
    return ended


def test_an_undisturbed_request_is_placed_once_and_cancels_nothing() -> None:
    live, handle, switches = drive(answers)
    assert (live.done, live.error, live.outcome()) == (True, None, "length")
    assert [one.lost for one in handle.placements] == [("draining", "long-lost")]
    assert switches.cancelled == []


@pytest.mark.parametrize("loss", [dies_halfway, is_unavailable_halfway, ends_halfway])
def test_a_lost_stream_goes_on_elsewhere_right_after_what_it_had_said(loss: Answer) -> None:
    live, handle, switches = drive(loss, answers)
    assert (live.error, live.journal.journaled) == (None, TOKENS)
    second = handle.placements[1]
    assert [one.token_ids for one in second.resumed] == [(0, 1)]
    assert "replica-1" in second.lost
    assert second.stream_token != handle.placements[0].stream_token
    assert switches.cancelled == [(1, "fenced")]


def test_a_call_tells_that_its_replica_died_and_only_then() -> None:
    assert drive(dies_halfway, answers)[2].dead == ["replica-1"]
    assert drive(is_unavailable_halfway, answers)[2].dead == []
    assert drive(ends_halfway, answers)[2].dead == []


def test_a_silent_replica_is_left_but_not_shunned_and_not_left_at_the_last_attempt() -> None:
    live, handle, _ = drive(is_slow, is_slow, is_slow)
    assert (live.error, live.outcome(), len(handle.placements)) == (None, "length", 3)
    assert [one.lost for one in handle.placements] == [("draining", "long-lost")] * 3


def test_a_request_is_given_up_after_its_last_attempt() -> None:
    live, handle, _ = drive(dies_halfway, dies_halfway, dies_halfway, answers)
    assert isinstance(live.error, UnavailableError)
    assert "after 3 attempts (limit 3)" in str(live.error)
    assert len(handle.placements) == 3


def test_without_a_replica_a_request_ends_within_its_bound() -> None:
    live, _, _ = drive(heard=False)
    assert isinstance(live.error, UnavailableError)
    assert "within 0.2 s" in str(live.error)


def test_a_full_replica_refuses_a_new_request_and_passes_on_one_that_has_begun() -> None:
    live, handle, _ = drive(is_full, answers)
    assert (type(live.error), live.outcome(), len(handle.placements)) == (LoadError, "refused_load", 1)
    live, handle, _ = drive(dies_halfway, is_full, answers)
    assert (live.error, len(handle.placements)) == (None, 3)


def test_the_closing_record_tells_where_a_request_went_on_from() -> None:
    live, _, _ = drive(dies_halfway, is_full, answers)
    closed = live.journal.close("length", live.journal.accepted_ns, 0)
    assert [(move.attempt, move.replica_id, move.tokens) for move in closed.moves] == [
        (1, "replica-1", 2),
        (2, "replica-2", 2),
    ]
    assert 0 < closed.moves[0].at_ns <= closed.moves[1].at_ns


def test_a_request_whose_deadline_passes_ends_with_it_and_frees_its_replica() -> None:
    live, _, switches = drive(hangs, timeout_s=0.2)
    assert (type(live.error), live.outcome()) == (DeadlineError, "timeout")
    assert switches.cancelled == [(1, "cancelled")]


def test_a_call_that_serve_cancels_is_an_attempt_that_failed() -> None:
    live, handle, _ = drive(is_cancelled, answers)
    assert (live.done, live.outcome(), len(handle.placements)) == (True, "length", 2)
