"""Asks all gateways and answers for this one, over the frame channel, so that the operator API answers for all."""

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
from actors.gateway.routing_book import RoutingBook
from calmops.foundation.errors import CalmopsError
from calmops.foundation.sockets import ask
from calmops.messages.peer_question import PeerQuestion, Question
from calmops.messages.roster import GatewayEntry
from calmops.telemetry.log.publisher import GatewayPublisher

ANSWER_MS = 1000
_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Answers:
    """Holds the answers, this gateway's own first, and the ids of the gateways that were silent for ANSWER_MS."""

    given: list[Any]
    unanswered: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """Asks every gateway of the roster. ``entry`` is this gateway's own."""

    entry: GatewayEntry
    roster: RosterClient
    exchange: FrameExchange
    book: RoutingBook
    attempts: AttemptDriver
    publisher: GatewayPublisher

    def answer(self, question: PeerQuestion) -> Any:
        """Return this gateway's own answer, as plain values."""
        if question.question == "view":
            return self._view()
        if question.question == "requests":
            return self._requests()
        return self._cancel(question.argument)

    async def everywhere(self, question: Question, argument: str = "") -> Answers:
        """Ask every gateway, the others over their frame channels."""
        message = PeerQuestion(question=question, argument=argument)
        others = [entry for entry in self.roster.roster.gateways if entry.gateway_id != self.entry.gateway_id]
        bodies = await asyncio.gather(*(asyncio.to_thread(_ask, entry, message) for entry in others))
        given = [msgspec.json.decode(body) for body in bodies if body is not None]
        silent = [entry.gateway_id for entry, body in zip(others, bodies, strict=True) if body is None]
        return Answers([self.answer(message), *given], silent)

    def _cancel(self, request_id: str) -> bool:
        """End one live request because an operator says so. Return False if none of that id is here."""
        live = self.exchange.find(request_id)
        if live is None:
            return False
        live.end(CalmopsError("an operator cancelled this request"))
        if live.drive_task is not None:
            live.drive_task.cancel()
        return True

    def _requests(self) -> list[dict[str, Any]]:
        now_ns = time.monotonic_ns()
        return [
            {
                "request_id": live.request_id,
                "model": live.intake.request.model,
                "gateway_id": self.entry.gateway_id,
                "kind": live.intake.kind,
                "stream": live.intake.stream,
                "attempt": live.journal.attempt,
                "prompt_tokens": live.journal.prompt_tokens,
                "tokens": live.journal.journaled,
                "age_s": round((now_ns - live.journal.accepted_ns) / 1e9, 3),
                "replica_id": self.book.replica_of(live.journal.stream_token),
            }
            for live in self.exchange.live()
            if not live.intake.request.probe
        ]

    def _view(self) -> dict[str, Any]:
        """Describe the gateway, and each gang of the roster as this gateway sees it."""
        views = {gang.gang_id: gang for gang in self.exchange.liveness.gangs()}
        return {
            "gateway_id": self.entry.gateway_id,
            "pid": os.getpid(),
            "node_id": self.entry.node_id,
            "fenced_frames": self.exchange.fenced,
            "migrations": self.attempts.migrations,
            "telemetry": self.publisher.stats(),
            "gangs": {
                entry.gang_id: own_view(entry, views.get(entry.gang_id), self.book)
                for entry in self.roster.roster.gangs
            },
        }


def _ask(entry: GatewayEntry, question: PeerQuestion) -> bytes | None:
    return ask(entry.channel, _encode(question), ANSWER_MS)
