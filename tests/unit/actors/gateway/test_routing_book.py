"""The book notes where each attempt went, and the tokens in flight."""

from msgspec.structs import replace

from actors.gateway.routing_book import RoutingBook
from calmops.messages.placement import Placement
from calmops.messages.request import SamplingParams
from calmops.routing.cost import ReplicaLoad, cost


def placement(attempt: int = 1, n: int = 1) -> Placement:
    return Placement(
        request_id="r", model="m", attempt=attempt, gateway_id="g", stream_token=100 + attempt, prompt_ids=(1, 2, 3),
        params=SamplingParams(max_tokens=10, n=n), deadline_ns=0,
    )  # fmt: skip


def test_tokens_are_in_flight_from_routing_to_the_attempts_end() -> None:
    book = RoutingBook()
    book.note_route(placement(n=2), "a")
    assert (book.replica_of(101), book.tokens("a")) == ("a", 23)
    book.end(101)
    assert (book.replica_of(101), book.tokens("a")) == (None, 0)


def test_each_attempt_is_booked_where_it_went() -> None:
    book = RoutingBook()
    book.note_route(placement(1), "a")
    book.note_route(placement(2), "b")
    book.end(101)
    assert (book.replica_of(102), book.tokens("a"), book.tokens("b")) == ("b", 0, 13)


def test_an_attempt_that_ended_while_it_was_being_routed_leaves_nothing() -> None:
    book = RoutingBook()
    book.end(101)
    book.note_route(placement(1), "a")
    assert book.tokens("a") == 0


def test_a_request_id_used_again_is_another_attempt() -> None:
    book = RoutingBook()
    book.end(101)  # while it was being routed
    book.note_route(replace(placement(1), stream_token=7), "a")
    assert (book.replica_of(7), book.tokens("a")) == ("a", 13)


def test_a_chosen_replicas_tokens_count_before_the_attempt_is_routed() -> None:
    book = RoutingBook()
    book.note_choice(placement(), "a")
    assert (book.replica_of(101), book.tokens("a")) == (None, 13)
    book.note_choice(placement(), "b")  # asked again: the first choice had no room
    assert (book.tokens("a"), book.tokens("b")) == (0, 13)
    book.note_route(placement(), "a")
    assert (book.tokens("a"), book.tokens("b")) == (13, 0)
    book.note_choice(placement(), "b")
    assert book.tokens("b") == 0
    book.end(101)
    assert book.tokens("a") == 0


def test_an_attempt_that_ended_before_it_was_routed_gives_its_chosen_tokens_back() -> None:
    book = RoutingBook()
    book.note_choice(placement(), "a")
    book.end(101)
    book.note_choice(placement(), "a")
    assert book.tokens("a") == 0


def test_tokens_that_other_gateways_sent_count_beside_this_gateways_own() -> None:
    book = RoutingBook()
    book.note_route(placement(), "a")
    book.report("a", 13, "f")
    book.report("b", 100, "f")
    assert book.load("a") == ReplicaLoad("a", 13, "f"), "the 13 are this gateway's own"
    assert cost(None, book.load("a")) < cost(None, book.load("b"))
    book.report("a", 213, "f")
    assert book.load("a").tokens == 213
    assert cost(None, book.load("b")) < cost(None, book.load("a"))
    book.forget("a")
    assert book.load("a") == ReplicaLoad("a", 13, None)
    assert cost(None, book.load("a")) < cost(None, book.load("b"))


def test_a_stream_that_was_decoded_elsewhere_prefers_an_equal_fingerprint_to_an_idle_replica() -> None:
    book = RoutingBook()
    book.report("a", 500, "same")
    book.report("b", 0, "other")
    migrated = replace(placement(2), fingerprint="same")
    assert cost(migrated, book.load("a")) < cost(migrated, book.load("b"))
    assert cost(placement(), book.load("b")) < cost(placement(), book.load("a"))
