"""Tokens in flight, and where each attempt went."""

from msgspec.structs import replace

from actors.gateway.routing_book import RoutingBook
from calmops.messages.placement import Placement
from calmops.messages.request import SamplingParams


def placement(attempt: int = 1, n: int = 1) -> Placement:
    return Placement(
        request_id="r", model="m", attempt=attempt, gateway_id="g", stream_token=100 + attempt, prompt_ids=(1, 2, 3),
        params=SamplingParams(max_tokens=10, n=n), deadline_ns=0,
    )  # fmt: skip


def test_tokens_are_in_flight_from_routing_to_the_attempts_end() -> None:
    book = RoutingBook()
    book.routed(placement(n=2), "a")
    assert (book.replica_of(101), book.tokens("a")) == ("a", 23)
    book.ended(101)
    assert (book.replica_of(101), book.tokens("a")) == (None, 0)


def test_each_attempt_is_booked_where_it_went() -> None:
    book = RoutingBook()
    book.routed(placement(1), "a")
    book.routed(placement(2), "b")
    book.ended(101)
    assert (book.replica_of(102), book.tokens("a"), book.tokens("b")) == ("b", 0, 13)


def test_an_attempt_that_ended_while_it_was_being_routed_leaves_nothing() -> None:
    book = RoutingBook()
    book.ended(101)
    book.routed(placement(1), "a")
    assert book.tokens("a") == 0


def test_a_request_id_used_again_is_another_attempt() -> None:
    book = RoutingBook()
    book.ended(101)  # while it was being routed
    book.routed(replace(placement(1), stream_token=7), "a")
    assert (book.replica_of(7), book.tokens("a")) == ("a", 13)


def test_a_chosen_replicas_tokens_count_before_the_attempt_is_routed() -> None:
    book = RoutingBook()
    book.lean(placement(), "a")
    assert (book.replica_of(101), book.tokens("a")) == (None, 13)
    book.lean(placement(), "b")  # asked again: the first choice had no room
    assert (book.tokens("a"), book.tokens("b")) == (0, 13)
    book.routed(placement(), "a")
    assert (book.tokens("a"), book.tokens("b")) == (13, 0)
    book.lean(placement(), "b")
    assert book.tokens("b") == 0
    book.ended(101)
    assert book.tokens("a") == 0


def test_an_attempt_that_ended_before_it_was_routed_gives_its_chosen_tokens_back() -> None:
    book = RoutingBook()
    book.lean(placement(), "a")
    book.ended(101)
    book.lean(placement(), "a")
    assert book.tokens("a") == 0


def test_what_other_gateways_sent_counts_beside_ones_own() -> None:
    book = RoutingBook()
    book.routed(placement(), "a")
    book.reported("a", 13, "f")
    book.reported("b", 100, "f")
    assert book.cost(None, "a") < book.cost(None, "b"), "13 of one's own are fewer than another gateway's 100"
    book.reported("a", 213, "f")
    assert book.cost(None, "b") < book.cost(None, "a")
    book.forget("a")
    assert book.cost(None, "a") < book.cost(None, "b")


def test_a_stream_that_was_decoded_elsewhere_prefers_an_equal_fingerprint_to_an_idle_replica() -> None:
    book = RoutingBook()
    book.reported("a", 500, "same")
    book.reported("b", 0, "other")
    migrated = replace(placement(2), fingerprint="same")
    assert book.cost(migrated, "a") < book.cost(migrated, "b")
    assert book.cost(placement(), "b") < book.cost(placement(), "a")
