"""A client gets its answer as events or as one body, and the books are closed with what it never got."""

import asyncio
import json

import pytest

from calmops.foundation.errors import CalmopsError, DeadlineError, LoadError, UnavailableError
from calmops.intake.answers import DONE, KEEPALIVE
from tests.support.live_requests import intake, live_request, say
from tests.support.response_client import Books, answering


async def test_events_come_in_order_and_each_as_soon_as_its_token_is_there() -> None:
    live, books = live_request(), Books()
    async with answering(live, books) as (client, _):
        for count, text in enumerate(("Hel", "lo", "!"), 1):
            say(live, text, finish_reason="stop" if count == 3 else None)
            await client.has_events(count)
        assert not client.ended
        live.end()
    assert [event["choices"][0]["text"] for event in client.events] == ["Hel", "lo", "!"]
    assert [event["choices"][0]["finish_reason"] for event in client.events] == [None, None, "stop"]
    assert client.body.endswith(DONE)
    assert client.ended
    assert books.closed == [("completed", 0)]


async def test_a_stream_says_its_seed_and_its_trace_and_that_nothing_may_store_it() -> None:
    accepted = intake(tracestate="vendor=1", baggage={"team": "a b"})
    live, books = live_request(accepted), Books()
    live.end()
    async with answering(live, books) as (client, _):
        pass
    assert client.status == 200
    assert client.headers == {
        "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store", "x-accel-buffering": "no",
        "x-calmops-seed": "5", "traceparent": live.trace.header, "tracestate": "vendor=1", "baggage": "team=a%20b",
    }  # fmt: skip


async def test_the_usage_counts_every_journaled_token() -> None:
    live, books = live_request(intake(include_usage=True)), Books()
    say(live, "Hello", token_ids=(7, 8, 9), released=3, finish_reason="stop")
    live.end()
    async with answering(live, books) as (client, _):
        pass
    assert client.events[-1]["choices"] == []
    assert client.events[-1]["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}


async def test_a_silent_stream_gets_comments_and_then_goes_on() -> None:
    live, books = live_request(), Books()
    async with answering(live, books, keepalive_s=0.01) as (client, _):
        await client.has(lambda: client.body.count(KEEPALIVE) >= 2)
        say(live, "x", finish_reason="stop")
        live.end()
    assert client.status == 200
    assert [event["choices"][0]["text"] for event in client.events] == ["x"]
    assert books.closed == [("completed", 0)]


@pytest.mark.parametrize(
    ("why", "released", "unsent"),
    [
        ("the event that a client never took counts too", (1, 1, 1), 2),
        ("tokens whose text was withheld aren't unsent: they were never released", (1, 0, 0), 0),
        ("an event may release several tokens", (1, 0, 2), 2),
    ],
)
async def test_a_client_that_leaves_midway_closes_the_books_with_what_it_never_got(
    why: str, released: tuple[int, ...], unsent: int
) -> None:
    live, books = live_request(), Books()
    async with answering(live, books) as (client, _):
        so_far = 0
        for number, count in enumerate(released):
            so_far += count
            say(live, "x", released=so_far)
            if number == 0:
                await client.has_events(1)
                client.reads.clear()
        await asyncio.wait_for(client.blocked.wait(), 60)
        client.leave()
    assert books.closed == [("client_cancelled", unsent)], why
    assert not client.ended


async def test_a_client_that_leaves_while_it_waits_for_a_token_has_got_everything() -> None:
    live, books = live_request(), Books()
    async with answering(live, books) as (client, _):
        say(live, "x")
        await client.has_events(1)
        client.leave()
    assert books.closed == [("client_cancelled", 0)]


@pytest.mark.parametrize("streamed", [True, False], ids=["a stream", "a whole answer"])
@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (UnavailableError("no replica", retry_after_s=3), 503, "3"),
        (LoadError("256 wait", retry_after_s=2), 429, "2"),
        (CalmopsError("it broke"), 500, None),
    ],
)
async def test_an_error_before_the_first_byte_is_a_json_error_with_its_status(
    streamed: bool, error: CalmopsError, status: int, retry_after: str | None
) -> None:
    live, books = live_request(intake(stream=streamed)), Books()
    async with answering(live, books) as (client, _):
        live.end(error)
    assert (client.status, client.headers.get("retry-after")) == (status, retry_after)
    assert client.headers["content-type"] == "application/json"
    assert client.headers["x-calmops-seed"] == "5"
    assert json.loads(client.body)["error"]["message"] == str(error)
    assert client.ended
    assert books.closed == [(live.outcome(), 0)]


async def test_an_error_after_the_first_byte_is_an_event_and_no_done_follows() -> None:
    live, books = live_request(), Books()
    async with answering(live, books) as (client, _):
        say(live, "x")
        await client.has_events(1)
        live.end(UnavailableError("gave the request up"))
    assert client.status == 200
    assert client.events[-1]["error"]["message"] == "gave the request up"
    assert DONE not in client.body
    assert client.ended
    assert books.closed == [("failed", 0)]


async def test_tokens_that_came_before_an_error_are_sent_before_it() -> None:
    live, books = live_request(), Books()
    say(live, "x")
    say(live, "y")
    live.end(UnavailableError("gave the request up"))
    async with answering(live, books) as (client, _):
        pass
    assert [list(event)[-1] for event in client.events] == ["choices", "choices", "error"]
    assert books.closed == [("failed", 0)]


async def test_a_deadline_is_an_event_of_a_stream_even_before_its_first_token() -> None:
    live, books = live_request(), Books()
    async with answering(live, books) as (client, _):
        live.end(DeadlineError("30 s passed"))
    assert client.status == 200
    assert client.headers["content-type"].startswith("text/event-stream")
    assert [event["error"]["code"] for event in client.events] == ["deadline_exceeded"]
    assert books.closed == [("timeout", 0)]


async def test_a_deadline_of_a_whole_answer_is_a_408() -> None:
    live, books = live_request(intake(stream=False)), Books()
    say(live, "x")
    async with answering(live, books) as (client, _):
        live.end(DeadlineError("30 s passed"))
    assert client.status == 408
    assert books.closed == [("timeout", 1)], "its one released token was never sent"


async def test_a_slow_client_that_is_cut_closes_the_books_with_what_it_never_took() -> None:
    live, books = live_request(), Books()
    async with answering(live, books) as (client, _):
        client.reads.clear()
        say(live, "x")
        await asyncio.wait_for(client.blocked.wait(), 60)
        assert live.sending_since_ns is not None, "the gateway sees how long a write has waited"
        live.end(outcome="client_cancelled")
        assert live.response_task is not None
        live.response_task.cancel()
    assert books.closed == [("client_cancelled", 1)]


async def test_a_call_that_serve_cancels_closes_the_books() -> None:
    live, books = live_request(), Books()
    async with answering(live, books) as (client, task):
        say(live, "x")
        await client.has_events(1)
        task.cancel()
    assert task.cancelled()
    assert books.closed == [("client_cancelled", 0)]


async def test_a_stream_whose_connection_breaks_closes_the_books_and_raises() -> None:
    live, books = live_request(), Books()
    async with answering(live, books) as (client, task):
        client.broken = OSError("reset")
        say(live, "x")
    with pytest.raises(OSError, match="reset"):
        task.result()
    assert str(live.error) == "the gateway failed: OSError"
    assert books.closed == [("failed", 1)]


async def test_a_whole_answer_whose_connection_breaks_was_not_delivered() -> None:
    live, books = live_request(intake(stream=False)), Books()
    async with answering(live, books) as (client, task):
        client.broken = OSError("reset")
        say(live, "x", finish_reason="stop")
        live.end()
    with pytest.raises(OSError, match="reset"):
        task.result()
    assert [unsent for _, unsent in books.closed] == [1]


async def test_a_whole_answer_is_one_body_when_every_choice_has_ended() -> None:
    live, books = live_request(intake(stream=False, params={"n": 2})), Books()
    async with answering(live, books) as (client, _):
        say(live, "Hel")
        say(live, "lo", index=1, released=2, finish_reason="stop")
        say(live, "Bye", choice=1, index=0, released=1, finish_reason="length")
        assert not client.sent
        live.end()
    body = json.loads(client.body)
    assert (client.status, client.ended) == (200, True)
    assert [choice["text"] for choice in body["choices"]] == ["Hello", "Bye"]
    assert [choice["finish_reason"] for choice in body["choices"]] == ["stop", "length"]
    assert body["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    assert client.headers["content-length"] == str(len(client.body))
    assert books.closed == [("length", 0)]


async def test_a_client_that_leaves_before_its_whole_answer_gets_nothing_and_nothing_was_delivered() -> None:
    live, books = live_request(intake(stream=False)), Books()
    async with answering(live, books) as (client, _):
        say(live, "x")
        say(live, "y")
        client.leave()
    assert client.sent == []
    assert books.closed == [("client_cancelled", 2)]
