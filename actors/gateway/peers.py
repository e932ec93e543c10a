"""The operator's questions: what this gateway answers for itself, and what all of them answer together."""

import asyncio
import os
import time
from dataclasses import dataclass
from typing import Any

import msgspec

from actors.gateway.gateway import Gateway
from actors.gateway.routing_book import BOOK
from calmops.foundation.errors import CalmopsError
from calmops.foundation.sockets import ask
from calmops.messages.peer_question import PeerQuestion, Question
from calmops.messages.roster import GatewayEntry

ANSWER_MS = 1000
_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back, this gateway's own answer first, and the ids of the gateways that kept silent for ANSWER_MS."""

    given: list[Any]
    unanswered: list[str]


class Peers:
    """One gateway among all."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        gateway.exchange.asked = self.answer

    def answer(self, asked: PeerQuestion) -> Any:
        """This gateway's own answer, as plain values."""
        if asked.question == "view":
            return self._view()
        if asked.question == "requests":
            return self._requests()
        return self._cancel(asked.argument)

    async def everywhere(self, question: Question, argument: str = "") -> Answers:
        """All gateways' answers, those of the others over their frame channels."""
        asked = PeerQuestion(question=question, argument=argument)
        own = self._gateway.gateway_id
        others = [entry for entry in self._gateway.roster.gateways if entry.gateway_id != own]
        bodies = await asyncio.gather(*(asyncio.to_thread(_ask, entry, asked) for entry in others))
        given = [msgspec.json.decode(body) for body in bodies if body is not None]
        silent = [entry.gateway_id for entry, body in zip(others, bodies, strict=True) if body is None]
        return Answers([self.answer(asked), *given], silent)

    def _cancel(self, request_id: str) -> bool:
        """End one live request on an operator's word; False if there is none of that id here."""
        live = self._gateway.exchange.find(request_id)
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
                "request_id": live.request_id, "model": live.intake.request.model, "gateway_id": self._gateway.gateway_id,
                "kind": live.intake.kind, "stream": live.intake.stream, "attempt": live.journal.attempt,
                "prompt_tokens": live.journal.prompt_tokens, "tokens": live.journal.journaled,
                "age_s": round((now_ns - live.journal.accepted_ns) / 1e9, 3),
                "replica_id": BOOK.replica_of(live.journal.stream_token),
            }
            for live in self._gateway.exchange.live() if not live.intake.request.probe
        ]  # fmt: skip

    def _view(self) -> dict[str, Any]:
        """The gateway, and each gang of the roster as this gateway sees it."""
        gateway = self._gateway
        views = {gang.gang_id: gang for gang in gateway.exchange.liveness.gangs()}
        now_ns = time.monotonic_ns()
        gangs = {}
        for entry in gateway.roster.gangs:
            view = views.get(entry.gang_id)
            facts = view.facts if view else None
            gangs[entry.gang_id] = {
                "tokens_in_flight": BOOK.tokens(entry.replica_id), "routable": BOOK.is_routable(entry.replica_id),
                "linked": view is not None, "step": view.step if view else -1,
                "heard_ms_ago": (now_ns - view.heard_ns) // 1_000_000 if view else None,
                "facts_step": view.facts_step if view else -1,
                "running": facts.running if facts else 0, "waiting": facts.waiting if facts else 0,
                "kv_blocks_used": facts.kv_blocks_used if facts else 0,
                "kv_blocks_total": facts.kv_blocks_total if facts else None,
            }  # fmt: skip
        return {
            "gateway_id": gateway.gateway_id, "pid": os.getpid(), "node_id": gateway.node_id,
            "fenced_frames": gateway.exchange.fenced, "migrations": gateway.attempts.migrations,
            "telemetry": gateway.publisher.stats(), "gangs": gangs,
        }  # fmt: skip


def merged(views: list[dict[str, Any]]) -> dict[str, Any]:
    """One gang as all gateways see it: the newest step's facts, tokens added up, linked if all hear it.

    A gateway's router knows replicas from its first request on, so a gang is routable if any router may choose it.
    """
    newest = max(views, key=lambda view: int(view["facts_step"]))
    heard = [view["heard_ms_ago"] for view in views if view["heard_ms_ago"] is not None]
    step = max(int(view["step"]) for view in views)
    return {
        "tokens_in_flight": sum(view["tokens_in_flight"] for view in views),
        "routable": any(view["routable"] for view in views),
        "linked": all(view["linked"] for view in views),
        "step": step if step >= 0 else None,
        "heard_ms_ago": min(heard, default=None),
        **{name: newest[name] for name in ("running", "waiting", "kv_blocks_used", "kv_blocks_total")},
    }


def _ask(entry: GatewayEntry, asked: PeerQuestion) -> bytes | None:
    return ask(entry.channel, _encode(asked), ANSWER_MS)
