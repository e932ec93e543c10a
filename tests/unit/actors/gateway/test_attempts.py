"""One request is driven to its end over replicas that answer, fail, fall silent or aren't there."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError

from actors.gateway.attempts import AttemptDriver
from actors.gateway.live_request import LiveRequest
from actors.gateway.routing_book import RoutingBook
from calmops.foundation.config_sections import FailoverConfig
from calmops.foundation.errors import DeadlineError, LoadError, UnavailableError
from calmops.messages.placement import Placement, Summary
from tests.support import live_requests

TOKENS = 4
Answer = Callable[[Placement, LiveRequest], Awaitable[Summary]]


@dataclass
class Exchange:
    """Has what the driver needs of a frame exchange."""

    heard: bool = True  # whether a replica of the model is heard
    cancelled: list[tuple[int, str]] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)

    @property
    def liveness(self) -> "Exchange":
        return self

    def lost_replicas(self) -> tuple[str, ...]:
        return ("long-lost",)

    def serves(self, _model: str, _lost: tuple[str, ...]) -> bool:
        return self.heard

    def replica_died(self, replica_id: str, _why: str) -> None:
        self.dead.append(replica_id)

    def cancel(self, live: LiveRequest, reason: str) -> None:
        self.cancelled.append((live.journal.attempt, reason))


class Handle:
    """Stands in for Serve's handle: each attempt goes to the next replica of the script."""

    def __init__(self, live: LiveRequest, book: RoutingBook, *answers: Answer) -> None:
        self._live = live
        self._book = book
        self._answers = list(answers)
        self.placements: list[Placement] = []

    @property
    def generate(self) -> "Handle":
        return self

    def remote(self, placement: Placement) -> Any:
        self.placements.append(placement)
        if not self._answers:
            return Call(asyncio.sleep(60))
        self._book.note_route(placement, f"replica-{placement.attempt}")
        return Call(self._answers.pop(0)(placement, self._live))


class Call:
    """A call under way."""

    def __init__(self, answer: Awaitable[Any]) -> None:
        self._task = asyncio.ensure_future(answer)

    def __await__(self) -> Any:
        return self._task.__await__()

    def cancel(self) -> None:
        self._task.cancel()


def say(live: LiveRequest, until: int) -> None:
    """Hand the request frames of its attempt: tokens up to ``until`` of TOKENS."""
    for index in range(live.journal.journaled, until):
        end = "length" if index + 1 == TOKENS else None
        live_requests.say(live, "x", token_ids=(index,), finish_reason=end)


async def answers(placement: Placement, live: LiveRequest) -> Summary:
    say(live, TOKENS)
    return Summary(stream_token=placement.stream_token)


async def is_cancelled(_placement: Placement, _live: LiveRequest) -> Summary:
    raise asyncio.CancelledError  # as Serve does to the calls of an HTTP request whose client left


async def dies_halfway(_placement: Placement, live: LiveRequest) -> Summary:
    say(live, 2)
    raise ActorDiedError


async def is_unavailable_halfway(_placement: Placement, live: LiveRequest) -> Summary:
    say(live, 2)
    raise ActorUnavailableError("it doesn't answer", None)


async def ends_halfway(_placement: Placement, live: LiveRequest) -> Summary:
    say(live, 2)
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


def drive(*script: Answer, timeout_s: float = 30.0, heard: bool = True) -> tuple[LiveRequest, Handle, Exchange]:
    """Drive one request over replicas that answer as scripted, in turn; after them none takes a call."""
    book = RoutingBook()

    async def run() -> tuple[LiveRequest, Handle, Exchange]:
        live = live_requests.live_request(live_requests.intake(timeout_s=timeout_s))
        exchange = Exchange(heard=heard)
        handle = Handle(live, book, *script)
        driver = AttemptDriver(
            exchange,  # type: ignore[arg-type]  # it has what the driver uses
            book,
            lambda _model: handle,
            lambda: ("draining",),
            FailoverConfig(max_attempts=3, no_replica_s=0.2),
        )
        await asyncio.wait_for(driver.drive(live, handle), 60)
        return live, handle, exchange

    ended = asyncio.run(run())
    assert [book.tokens(f"replica-{attempt}") for attempt in range(1, 4)] == [0, 0, 0], "tokens stay in flight"
    return ended


def test_an_undisturbed_request_is_placed_once_and_cancels_nothing() -> None:
    live, handle, exchange = drive(answers)
    assert (live.done, live.error, live.outcome()) == (True, None, "length")
    assert [placement.lost for placement in handle.placements] == [("draining", "long-lost")]
    assert exchange.cancelled == []


@pytest.mark.parametrize("loss", [dies_halfway, is_unavailable_halfway, ends_halfway])
def test_a_lost_stream_goes_on_elsewhere_right_after_the_tokens_that_it_had(loss: Answer) -> None:
    live, handle, exchange = drive(loss, answers)
    assert (live.error, live.journal.journaled) == (None, TOKENS)
    second = handle.placements[1]
    assert [choice.token_ids for choice in second.resumed] == [(0, 1)]
    assert "replica-1" in second.lost
    assert second.stream_token != handle.placements[0].stream_token
    assert exchange.cancelled == [(1, "fenced")]


def test_a_replica_counts_as_dead_only_if_its_call_says_so() -> None:
    assert drive(dies_halfway, answers)[2].dead == ["replica-1"]
    assert drive(is_unavailable_halfway, answers)[2].dead == []
    assert drive(ends_halfway, answers)[2].dead == []


def test_a_silent_replica_is_left_but_not_shunned_and_not_left_at_the_last_attempt() -> None:
    live, handle, _ = drive(is_slow, is_slow, is_slow)
    assert (live.error, live.outcome(), len(handle.placements)) == (None, "length", 3)
    assert [placement.lost for placement in handle.placements] == [("draining", "long-lost")] * 3


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


def test_the_closing_record_says_which_replicas_a_request_left_and_after_how_many_tokens() -> None:
    live, _, _ = drive(dies_halfway, is_full, answers)
    closed = live.journal.close("length", live.journal.accepted_ns, 0)
    assert [(move.attempt, move.replica_id, move.tokens) for move in closed.moves] == [
        (1, "replica-1", 2),
        (2, "replica-2", 2),
    ]
    assert 0 < closed.moves[0].at_ns <= closed.moves[1].at_ns


def test_a_request_whose_deadline_passes_ends_with_it_and_frees_its_replica() -> None:
    live, _, exchange = drive(hangs, timeout_s=0.2)
    assert (type(live.error), live.outcome()) == (DeadlineError, "timeout")
    assert exchange.cancelled == [(1, "cancelled")]


def test_a_call_that_serve_cancels_is_an_attempt_that_failed() -> None:
    live, handle, _ = drive(is_cancelled, answers)
    assert (live.done, live.outcome(), len(handle.placements)) == (True, "length", 2)
