"""A gateway answers for itself, and asks all others, those that keep silent included."""

import asyncio
import json
import os
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from actors.gateway import peers as module
from actors.gateway.live_request import LiveRequest
from actors.gateway.peers import ANSWER_MS, Peers
from actors.gateway.routing_book import RoutingBook
from calmops.foundation.sockets import Channel
from calmops.messages.peer_question import PeerQuestion, Question
from calmops.messages.roster import GangEntry, GatewayEntry, Roster
from calmops.streams.gang_liveness import GangLiveness
from tests.support.live_requests import frame, intake, live_request, place, say


def gateway_entry(name: str) -> GatewayEntry:
    return GatewayEntry(gateway_id=name, channel=Channel(address=f"ipc://@{name}"), node_id="n1")


def gang(name: str) -> GangEntry:
    return GangEntry(
        model="m", replica_id=f"replica-{name}", gang_id=name, node_id="n1", members=(), fingerprint="f", tp=1
    )


class Gateway:
    """Has what peers ask: a roster of three gateways and two gangs (only g1 is heard), and live requests."""

    def __init__(self) -> None:
        self.live: dict[str, LiveRequest] = {}
        self.book = RoutingBook()
        liveness = GangLiveness(10**9, lambda _replica: True)
        liveness.hear(frame(gang="g1"), 0)
        parts: dict[str, Any] = {
            "roster": SimpleNamespace(
                roster=Roster(
                    gateways=tuple(gateway_entry(name) for name in ("gw-2", "gw", "gw-3")),
                    gangs=(gang("g1"), gang("g2")),
                )
            ),
            "exchange": SimpleNamespace(
                liveness=liveness, fenced=3, find=self.live.get, live=lambda: list(self.live.values())
            ),
            "attempts": SimpleNamespace(migrations=2),
            "publisher": SimpleNamespace(stats=lambda: {"committed": 5}),
        }
        self.peers = Peers(entry=gateway_entry("gw"), book=self.book, **parts)

    def answer(self, question: Question, argument: str = "") -> Any:
        return self.peers.answer(PeerQuestion(question=question, argument=argument))


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def test_a_gateway_describes_itself_and_every_gang_of_the_roster(gateway: Gateway) -> None:
    view = gateway.answer("view")
    assert (view["gateway_id"], view["node_id"], view["pid"]) == ("gw", "n1", os.getpid())
    assert (view["fenced_frames"], view["migrations"], view["telemetry"]) == (3, 2, {"committed": 5})
    assert {name: seen["linked"] for name, seen in view["gangs"].items()} == {"g1": True, "g2": False}
    assert json.loads(msgspec.json.encode(view)) == view, "it travels as JSON"


def test_live_requests_are_listed_with_where_they_are_and_probes_are_not(gateway: Gateway) -> None:
    live, probe = live_request(intake("a", kind="chat")), live_request(intake("probe-1", probe=True))
    gateway.live.update({"a": live, "probe-1": probe})
    say(live, "x")
    gateway.book.note_route(place(live), "replica-g1")
    (row,) = gateway.answer("requests")
    assert row.pop("age_s") >= 0
    assert row == {
        "request_id": "a", "model": "m", "gateway_id": "gw", "kind": "chat", "stream": True, "attempt": 2,
        "prompt_tokens": 2, "tokens": 1, "replica_id": "replica-g1",
    }  # fmt: skip


async def test_an_operators_cancel_ends_the_request_and_its_driving(gateway: Gateway) -> None:
    gateway.live["a"] = live = live_request(intake("a"))
    live.drive_task = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
    assert gateway.answer("cancel", "a") is True
    assert (live.done, str(live.error), live.outcome()) == (True, "an operator cancelled this request", "failed")
    with pytest.raises(asyncio.CancelledError):
        await live.drive_task
    assert gateway.answer("cancel", "b") is False


async def test_every_other_gateway_of_the_roster_is_asked_and_the_silent_ones_are_named(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Any, int]] = []

    def ask(channel: Channel, body: bytes, timeout_ms: int) -> bytes | None:
        asked.append((channel.address, msgspec.msgpack.decode(body, type=PeerQuestion), timeout_ms))
        return b"true" if channel.address == "ipc://@gw-2" else None

    monkeypatch.setattr(module, "ask", ask)
    answers = await gateway.peers.everywhere("cancel", "a")
    question = PeerQuestion(question="cancel", argument="a")
    assert sorted(asked, key=str) == [(f"ipc://@{name}", question, ANSWER_MS) for name in ("gw-2", "gw-3")]
    assert (answers.given, answers.unanswered) == ([False, True], ["gw-3"]), "its own answer comes first"
