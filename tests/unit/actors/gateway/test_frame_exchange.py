"""Frames reach their live requests, others are fenced off, and gangs that are silent or lost are left."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from actors.gateway import frame_exchange
from actors.gateway.frame_exchange import ALIVE_NS
from calmops.foundation.clock import ManualClock
from calmops.foundation.liveness import DEAD_STALLS
from calmops.messages.frame import Cancel, GatewayAlive, Hello
from calmops.messages.peer_question import PeerQuestion
from calmops.messages.record import FrameRecord
from tests.support.exchange_gateway import STALL_NS, TICK_NS, Gateway, Server, encode
from tests.support.live_requests import delta, place


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    clock = ManualClock()
    monkeypatch.setattr(frame_exchange, "time", SimpleNamespace(monotonic_ns=clock.now_ns))
    return Gateway(clock)


def test_a_frames_deltas_reach_their_requests_and_are_recorded_without_content(gateway: Gateway) -> None:
    (first, placed), (second, placed_too) = gateway.begin("a"), gateway.begin("b")
    gateway.hear(delta(placed, 0, "Hel"), delta(placed_too, 0, "Bye"), fingerprint="f7", shard=3)
    assert [[taken.text for taken in live.outbox] for live in (first, second)] == [["Hel"], ["Bye"]]
    assert first.wake.is_set()
    assert first.journal.fingerprint == "f7"
    assert gateway.exchange.last_token_ns == {"m": gateway.clock.now_ns()}
    (record,) = gateway.publisher.records
    assert isinstance(record, FrameRecord)
    assert [(share.request_id, share.tokens, share.released) for share in record.sequences] == [
        ("a", 1, 1),
        ("b", 1, 1),
    ]
    assert b"Hel" not in encode(record)


def test_a_probes_token_shows_that_the_model_decodes_and_is_not_recorded(gateway: Gateway) -> None:
    live, placed = gateway.begin(probe=True)
    gateway.hear(delta(placed, 0))
    assert len(live.outbox) == 1
    assert "m" in gateway.exchange.last_token_ns
    assert [record.sequences for record in gateway.publisher.records if isinstance(record, FrameRecord)] == [()]


@pytest.mark.parametrize(
    ("why", "changes"),
    [
        ("a request that isn't live here", {"request_id": "unknown"}),
        ("an older attempt", {"attempt": 1}),
        ("another attempt's stream token", {"stream_token": 1}),
        ("a choice that the request doesn't have", {"choice": 5}),
    ],
)
def test_deltas_that_belong_to_no_live_attempt_are_fenced_off_and_counted(
    gateway: Gateway, why: str, changes: dict[str, Any]
) -> None:
    live, _ = gateway.begin()
    current = place(live)
    gateway.hear(delta(current, 0, **changes), delta(current, 0, "right"))
    assert [taken.text for taken in live.outbox] == ["right"], why
    assert gateway.exchange.fenced == 1
    assert gateway.publisher.counted == [("m", "fenced_frames", "older_attempt", 1)]
    assert not live.lost.is_set()


def test_a_request_that_has_ended_gets_nothing_more(gateway: Gateway) -> None:
    live, placed = gateway.begin()
    assert (gateway.exchange.find("r"), gateway.exchange.live()) == (live, [live])
    gateway.exchange.remove(live)
    gateway.hear(delta(placed, 0))
    assert (gateway.exchange.find("r"), gateway.exchange.live(), gateway.exchange.fenced) == (None, [], 1)
    assert not live.outbox


def test_a_delta_that_leaves_a_gap_makes_its_request_migrate_and_no_other(gateway: Gateway) -> None:
    (broken, placed), (whole, placed_too) = gateway.begin("a"), gateway.begin("b")
    gateway.hear(delta(placed, 2), delta(placed_too, 0))
    assert (broken.lost.is_set(), broken.perhaps_lost) == (True, False)
    assert "0 are journaled" in broken.why_lost
    assert not whole.lost.is_set()
    assert len(whole.outbox) == 1


def test_a_gap_in_a_gangs_frames_makes_the_requests_on_its_replica_migrate(gateway: Gateway) -> None:
    (there, placed), (elsewhere, _) = gateway.begin("a", "g1"), gateway.begin("b", "g2")
    gateway.hear(delta(placed, 0))
    gateway.hear(skip=1)
    assert there.why_lost == "replica replica-g1 was lost: its frames left a gap"
    assert (there.lost.is_set(), elsewhere.lost.is_set()) == (True, False)
    assert gateway.reports == [], "the gang itself goes on"


def test_a_last_frame_is_taken_and_then_the_gang_is_lost(gateway: Gateway) -> None:
    (there, placed), (elsewhere, _) = gateway.begin("a", "g1"), gateway.begin("b", "g2")
    gateway.hear(delta(placed, 0, "last"), last=True)
    assert [taken.text for taken in there.outbox] == ["last"]
    assert (there.lost.is_set(), there.perhaps_lost, elsewhere.lost.is_set()) == (True, False, False)
    assert gateway.reports == [("g1", "it ended")]
    assert gateway.exchange.liveness.lost_replicas() == ("replica-g1",)


def test_frames_of_a_lost_gang_are_fenced_off_whole(gateway: Gateway) -> None:
    live, placed = gateway.begin()
    gateway.hear(last=True)
    gateway.hear(delta(placed, 0), delta(placed, 1), tokens_in_flight=9)
    assert not live.outbox
    assert gateway.exchange.fenced == 2
    assert gateway.publisher.counted == [("m", "fenced_frames", "lost_gang", 2)]
    assert gateway.book.load("replica-g1").fingerprint is None, "what it reported is forgotten, and not taken again"


def test_the_book_learns_what_a_replica_has_in_flight(gateway: Gateway) -> None:
    gateway.hear(tokens_in_flight=70, fingerprint="f7")
    assert gateway.book.load("replica-g1") == ("replica-g1", 70, "f7")


def test_requests_leave_a_silent_gang_if_another_is_heard_and_it_may_come_back(gateway: Gateway) -> None:
    (silent, _), (heard, _) = gateway.begin("a", "g1"), gateway.begin("b", "g2")
    gateway.hear(gang="g1")
    for _ in range(6):
        gateway.hear(gang="g2")
        gateway.pass_time(TICK_NS)
    assert (silent.lost.is_set(), silent.perhaps_lost) == (True, True)
    assert silent.why_lost == "replica replica-g1 was lost: it fell silent"
    assert not heard.lost.is_set()
    assert gateway.publisher.counted == [("m", "stalled_gangs", "silent", 1)], "it is counted once, not at every tick"
    assert gateway.reports == []
    gateway.hear(gang="g1")
    assert gateway.exchange.liveness.lost_replicas() == ()


def test_requests_wait_for_a_silent_gang_that_is_the_only_one_of_its_model(gateway: Gateway) -> None:
    live, _ = gateway.begin()
    gateway.hear()
    gateway.pass_time(2 * STALL_NS)
    assert gateway.publisher.counted == [("m", "stalled_gangs", "silent", 1)]
    assert not live.lost.is_set()


def test_a_gang_that_stays_silent_is_lost_for_good_and_reported_once(gateway: Gateway) -> None:
    live, placed = gateway.begin()
    gateway.hear()
    gateway.pass_time(DEAD_STALLS * STALL_NS)
    assert gateway.reports == []
    gateway.pass_time(2 * STALL_NS)
    assert gateway.reports == [("g1", "it stayed silent")]
    assert (live.lost.is_set(), live.perhaps_lost) == (True, False)
    gateway.hear(delta(placed, 0))
    assert not live.outbox, "a gang that wakes stays fenced off"


def test_a_replica_whose_process_is_gone_is_lost_at_once(gateway: Gateway) -> None:
    live, _ = gateway.begin()
    gateway.hear()
    gateway.exchange.replica_died("replica-unknown", "x")
    assert gateway.reports == []
    gateway.exchange.replica_died("replica-g1", "the call failed: ActorDiedError")
    assert gateway.reports == [("g1", "the call failed: ActorDiedError")]
    assert live.lost.is_set()
    gateway.exchange.replica_died("replica-g1", "x")
    assert len(gateway.reports) == 1


def test_a_cancel_goes_to_the_gang_that_has_the_attempt(gateway: Gateway) -> None:
    live, placed = gateway.begin("a", "g2")
    for gang in ("g1", "g2", "g3"):
        gateway.hear(gang=gang)
    gateway.exchange.cancel(live, "client_cancelled")
    assert gateway.sent(Cancel) == [
        (b"g2", Cancel(stream_token=placed.stream_token, reason="client_cancelled")),
    ]


def test_an_attempt_that_no_replica_has_is_cancelled_nowhere(gateway: Gateway) -> None:
    live, placed = gateway.begin()
    gateway.hear()
    gateway.book.end(placed.stream_token)
    gateway.exchange.cancel(live, "cancelled")
    assert gateway.server.sent == []


def test_every_linked_gang_hears_that_the_gateway_lives_and_not_at_every_tick(gateway: Gateway) -> None:
    gateway.server.on_message(b"new", encode(Hello(replica_id="replica-g9", gang_id="g9", model="m")))
    gateway.hear()
    gateway.exchange.tick()
    assert gateway.sent(GatewayAlive) == [(link, GatewayAlive(gateway_id="gw")) for link in (b"new", b"g1")]
    gateway.clock.advance(ALIVE_NS - 1)
    gateway.exchange.tick()
    assert len(gateway.server.sent) == 2
    gateway.clock.advance(1)
    gateway.exchange.tick()
    assert len(gateway.server.sent) == 4


def test_another_gateways_question_is_answered_on_its_own_link(gateway: Gateway) -> None:
    gateway.exchange.answer_peers = lambda question: {"answer to": question.question, "about": question.argument}
    gateway.server.on_message(b"peer", encode(PeerQuestion(question="cancel", argument="r")))
    ((link, body),) = gateway.server.sent
    assert (link, json.loads(body)) == (b"peer", {"answer to": "cancel", "about": "r"})


def test_receiving_starts_and_ends_with_the_exchange(gateway: Gateway) -> None:
    assert gateway.exchange.channel == Server.channel
    gateway.exchange.start()
    assert gateway.server.running
    gateway.exchange.close()
    assert not gateway.server.running
