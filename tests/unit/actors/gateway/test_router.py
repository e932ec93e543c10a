"""The router offers Serve the replicas that may take a placement, best first, and notes where it went."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve.request_router import RequestRouter

from actors.gateway import routing_book
from actors.gateway.router import LeastTokensRouter
from actors.gateway.routing_book import RoutingBook
from calmops.messages.placement import Placement
from calmops.messages.request import SamplingParams

A, B, C = (SimpleNamespace(replica_id=SimpleNamespace(unique_id=name)) for name in "abc")


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> RoutingBook:
    """The process's book, empty."""
    book = RoutingBook()
    monkeypatch.setattr(routing_book, "BOOK", book)
    return book


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> LeastTokensRouter:
    """A router without what Serve's own class needs of a cluster."""
    monkeypatch.setattr(RequestRouter, "update_replicas", lambda self, replicas: setattr(self, "serves", replicas))
    router = LeastTokensRouter.__new__(LeastTokensRouter)
    router._deployment_id = SimpleNamespace(app_name="model-m")
    return router


def placement(stream_token: int = 1, **fields: Any) -> Placement:
    return Placement(
        **{
            "request_id": "r",
            "model": "m",
            "attempt": 1,
            "gateway_id": "gw",
            "stream_token": stream_token,
            "prompt_ids": (1,),
            "params": SamplingParams(max_tokens=9),
            "deadline_ns": 0,
            **fields,
        }  # fmt: skip
    )


def pending(*args: Any) -> Any:
    """Return a call that Serve wants to route."""
    return SimpleNamespace(args=args, routing_context=SimpleNamespace(should_backoff=False))


async def ranked(router: LeastTokensRouter, call: Any, *candidates: Any) -> list[str]:
    """Return the ids of the replicas offered, best first; each stands in a list of its own."""
    offers = await router.choose_replicas(list(candidates), call)
    assert all(len(offer) == 1 for offer in offers)
    return [offer[0].replica_id.unique_id for offer in offers]


async def test_the_replica_with_the_least_tokens_in_flight_comes_first(
    router: LeastTokensRouter, book: RoutingBook
) -> None:
    book.report("a", 300, "f")
    book.report("b", 20, "f")
    book.report("c", 100, "f")
    assert await ranked(router, pending(placement()), A, B, C) == ["b", "c", "a"]


async def test_lost_replicas_are_left_out_however_idle(router: LeastTokensRouter, book: RoutingBook) -> None:
    book.report("a", 300, "f")
    book.report("c", 100, "f")
    assert await ranked(router, pending(placement(lost=("b", "gone"))), A, B, C) == ["c", "a"]


async def test_a_migrated_stream_prefers_a_replica_of_equal_fingerprint(
    router: LeastTokensRouter, book: RoutingBook
) -> None:
    book.report("a", 0, "new")
    book.report("b", 500, "old")
    assert await ranked(router, pending(placement(fingerprint="old")), A, B) == ["b", "a"]


async def test_when_all_replicas_are_lost_none_is_offered_and_no_tokens_are_noted(
    router: LeastTokensRouter, book: RoutingBook
) -> None:
    call = pending(placement(lost=("a", "b")))
    assert await ranked(router, call, A, B) == []
    assert (book.tokens("a"), book.tokens("b")) == (0, 0)
    assert call.routing_context.should_backoff, "else Serve asks again without a pause"


async def test_a_burst_is_spread_since_each_choice_counts_at_once(router: LeastTokensRouter, book: RoutingBook) -> None:
    firsts = [(await ranked(router, pending(placement(token)), A, B))[0] for token in range(1, 5)]
    assert sorted(firsts) == ["a", "a", "b", "b"]
    assert (book.tokens("a"), book.tokens("b")) == (20, 20)
    assert book.replica_of(1) is None, "it isn't routed yet"


async def test_a_choice_that_serve_asks_for_again_is_noted_once(router: LeastTokensRouter, book: RoutingBook) -> None:
    call = pending(placement())
    await ranked(router, call, A)
    await ranked(router, call, B)
    assert (book.tokens("a"), book.tokens("b")) == (0, 10)


@pytest.mark.parametrize("call", [None, pending(), pending("no placement")])
async def test_a_call_without_a_placement_is_routed_and_noted_nowhere(
    router: LeastTokensRouter, book: RoutingBook, call: Any
) -> None:
    book.report("a", 5, "f")
    assert await ranked(router, call, A, B) == ["b", "a"]
    router.on_request_routed(call, A.replica_id, None)
    assert (book.tokens("a"), book.tokens("b")) == (0, 0)


async def test_the_book_knows_where_a_placement_went(router: LeastTokensRouter, book: RoutingBook) -> None:
    await ranked(router, pending(placement(7)), A, B)
    router.on_request_routed(pending(placement(7)), B.replica_id, None)
    assert (book.replica_of(7), book.tokens("a"), book.tokens("b")) == ("b", 0, 10)


def test_the_book_knows_which_replicas_a_models_router_may_choose(router: LeastTokensRouter, book: RoutingBook) -> None:
    router.update_replicas([A, B])
    assert [book.is_routable(name) for name in ("a", "b", "c")] == [True, True, False]
    router.update_replicas([C])
    assert [book.is_routable(name) for name in ("a", "b", "c")] == [False, False, True]
    assert router.serves == [C], "Serve's own part is done too"
