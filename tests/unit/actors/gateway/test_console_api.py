"""The console shows its state with a meter and without."""

import asyncio
from types import SimpleNamespace
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from actors.gateway import console_api
from actors.gateway.console_api import ConsoleState, build_console
from actors.gateway.operator_guard import operators_only
from actors.gateway.peers import Answers
from calmops.foundation.errors import CalmopsError, UnavailableError
from calmops.messages.roster import Roster


class NoPeers:
    """Knows no gateway except this one, and no gang."""

    async def everywhere(self, _question: str) -> Answers:
        return Answers([], [])


class Meter:
    """Answers as a meter does; None stands for a meter that isn't there."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer, self.asked = answer, 0

    async def state(self) -> bytes:
        self.asked += 1
        if self.answer is None:
            raise UnavailableError("telemetry is off")
        return self.answer


def console(meter: Meter) -> ConsoleState:
    roster: Any = SimpleNamespace(roster=Roster())
    peers: Any = NoPeers()
    relay: Any = meter
    return ConsoleState("gw", "test", roster, peers, relay)


def test_many_pages_ask_the_meter_once() -> None:
    async def looks(of: ConsoleState) -> list[bytes]:
        return await asyncio.gather(*(of.body() for _ in range(10)))

    meter = Meter(b'{"figures":[],"at_s":1}')
    (body,) = set(asyncio.run(looks(console(meter))))
    assert httpx.Response(200, content=body).json() == {
        "gateway": "gw", "version": console_api.calmops.__version__, "environment": "test", "gangs": [],
        "figures": [], "at_s": 1,
    }  # fmt: skip
    assert meter.asked == 1


def asked(meter: Meter, token: str | None, wanted: str | None = None) -> httpx.Response:
    """Ask for the page's state with this token, where ``wanted`` is the operators' token."""
    app = FastAPI()
    app.include_router(build_console(operators_only(wanted), console(meter)))

    @app.exception_handler(CalmopsError)
    async def known(_request: object, error: CalmopsError) -> JSONResponse:
        return JSONResponse({"error": {"message": str(error)}}, error.status)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            return await client.get("/console/state", headers={"authorization": f"Bearer {token}"} if token else {})

    return asyncio.run(ask())


def test_without_a_meter_the_console_says_so_and_shows_the_rest() -> None:
    answer = asked(Meter(None), None)
    shown = answer.json()
    reasons = shown["alerts_unknown"], shown["unmetered"]
    assert (answer.status_code, *reasons) == (200, "telemetry is off", "telemetry is off")
    assert shown["figures"] == shown["alerts"] == shown["requests"] == shown["gangs"] == []


def test_only_operators_see_the_state_if_they_have_a_token() -> None:
    assert [asked(Meter(b"{}"), token, "t").status_code for token in (None, "wrong", "t")] == [401, 401, 200]
