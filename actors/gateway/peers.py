"""All gateways as one: each answers for itself over the frame channel, and the gateway that was asked puts them together."""

import asyncio
import os
import time
from dataclasses import dataclass
from typing import Any

import msgspec

from actors.gateway.attempts import AttemptDriver
from actors.gateway.frame_exchange import FrameExchange
from actors.gateway.gang_views import own_view
from actors.gateway.roster_client import RosterClient
from actors.gateway.routing_book import BOOK
from calmops.foundation.errors import CalmopsError
from calmops.foundation.sockets import ask
from calmops.messages.peer_question import PeerQuestion, Question
from calmops.messages.roster import GatewayEntry
from calmops.telemetry.log.publisher import GatewayPublisher

ANSWER_MS = 1000
_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back, this gateway's own answer first, and the ids of the gateways that kept silent for ANSWER_MS."""

    given: list[Any]
    unanswered: list[str]


class Peers:
    """One gateway among all."""

    def __init__(
        self,
        entry: GatewayEntry,
        roster: RosterClient,
        exchange: FrameExchange,
        attempts: AttemptDriver,
        publisher: GatewayPublisher,
    ) -> None:
        """``entry``: this gateway's own. From now on the exchange answers other gateways' questions with ``answer``."""
        self._entry, self._roster, self._exchange = entry, roster, exchange
        self._attempts, self._publisher = attempts, publisher
        exchange.answer_peers = self.answer

    def answer(self, asked: PeerQuestion) -> Any:
        """Return this gateway's own answer, as plain values."""
        if asked.question == "view":
            return self._view()
        if asked.question == "requests":
            return self._requests()
        return self._cancel(asked.argument)

    async def everywhere(self, question: Question, argument: str = "") -> Answers:
        """Ask every gateway, the others over their frame channels."""
        asked = PeerQuestion(question=question, argument=argument)
        others = [entry for entry in self._roster.roster.gateways if entry.gateway_id != self._entry.gateway_id]
        bodies = await asyncio.gather(*(asyncio.to_thread(_ask, entry, asked) for entry in others))
        given = [msgspec.json.decode(body) for body in bodies if body is not None]
        silent = [entry.gateway_id for entry, body in zip(others, bodies, strict=True) if body is None]
        return Answers([self.answer(asked), *given], silent)

    def _cancel(self, request_id: str) -> bool:
        """End one live request because an operator says so; False if there is none of that id here."""
        live = self._exchange.find(request_id)
        if live is None:
            return False
        live.end(CalmopsError("an operator cancelled this request"))
        if live.driving is not None:
            live.driving.cancel()
        return True

    def _requests(self) -> list[dict[str, Any]]:
        now_ns = time.monotonic_ns()
        return [
            {
                "request_id": live.request_id,
                "model": live.intake.request.model,
                "gateway_id": self._entry.gateway_id,
                "kind": live.intake.kind,
                "stream": live.intake.stream,
                "attempt": live.journal.attempt,
                "prompt_tokens": live.journal.prompt_tokens,
                "tokens": live.journal.journaled,
                "age_s": round((now_ns - live.journal.accepted_ns) / 1e9, 3),
                "replica_id": BOOK.replica_of(live.journal.stream_token),
            }
            for live in self._exchange.live()
            if not live.intake.request.probe
        ]

    def _view(self) -> dict[str, Any]:
        """Describe the gateway, and each gang of the roster as this gateway sees it."""
        views = {gang.gang_id: gang for gang in self._exchange.liveness.gangs()}
        return {
            "gateway_id": self._entry.gateway_id,
            "pid": os.getpid(),
            "node_id": self._entry.node_id,
            "fenced_frames": self._exchange.fenced,
            "migrations": self._attempts.migrations,
            "telemetry": self._publisher.stats(),
            "gangs": {
                entry.gang_id: own_view(entry, views.get(entry.gang_id), BOOK) for entry in self._roster.roster.gangs
            },
        }


def _ask(entry: GatewayEntry, asked: PeerQuestion) -> bytes | None:
    return ask(entry.channel, _encode(asked), ANSWER_MS)
