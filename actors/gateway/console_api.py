"""Answers /console: the page for people without a Grafana, its state, and the runbooks that alerts link to."""

import asyncio
import time
from collections.abc import Callable
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from markdown_it import MarkdownIt

import calmops
from actors.gateway.gang_views import View, gangs_seen
from actors.gateway.meter_client import MeterClient
from actors.gateway.peers import Peers
from actors.gateway.roster_client import RosterClient
from calmops.foundation.errors import InputError, UnavailableError
from calmops.messages.roster import GangEntry

KINDS = {".css": "text/css", ".js": "text/javascript"}
EVERY_S = 0.9  # a page asks every second
NOTHING: dict[str, Any] = {"figures": [], "alerts": [], "objectives": [], "requests": [], "hidden": 0}
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{title}</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="/console/console.css"></head>
<body><main class="prose"><p><a href="/console">console</a></p>{body}</main></body></html>"""


def build_console(guard: Callable[[Request], None], state: "ConsoleState") -> APIRouter:
    """Make the routes under /console. What they show holds no content, as the metrics hold none."""
    router = APIRouter(prefix="/console", include_in_schema=False)

    @router.get("")
    async def page() -> HTMLResponse:
        """Answer the page."""
        return HTMLResponse(_file("page.html"))

    @router.get("/")
    async def slash() -> RedirectResponse:
        """Redirect to the page."""
        return RedirectResponse("/console", 308)

    @router.get("/state", dependencies=[Depends(guard)])
    async def page_state() -> Response:
        """Answer all that the page shows."""
        return Response(await state.body(), media_type="application/json")

    @router.get("/runbooks/{name}.md")
    async def runbook(name: str) -> HTMLResponse:
        """Answer a runbook or a playbook as a page."""
        return HTMLResponse(PAGE.format(title=escape(name), body=_runbook(name)))

    @router.get("/{name}")
    async def file(name: str) -> Response:
        """Answer a style sheet or a script of the page."""
        kind = KINDS.get(Path(name).suffix)
        if kind is None or name not in _files():
            raise InputError(
                f"GET /console/{name[:64]}: there is no such file; GET /console is the page", code="unknown_url"
            )
        return Response(_file(name), media_type=kind)

    return router


class ConsoleState:
    """Makes all that the page shows, as JSON: once in EVERY_S at most, however many pages are open."""

    def __init__(
        self, gateway_id: str, environment: str, roster: RosterClient, peers: Peers, meter: MeterClient
    ) -> None:
        self._own = {"gateway": gateway_id, "version": calmops.__version__, "environment": environment}
        self._roster, self._peers, self._meter = roster, peers, meter
        self._lock = asyncio.Lock()
        self._body = b""
        self._made_s = float("-inf")

    async def body(self) -> bytes:
        """Return the state as JSON, at most EVERY_S old."""
        async with self._lock:
            if time.monotonic() - self._made_s >= EVERY_S:
                self._body = await self._make()
                self._made_s = time.monotonic()
            return self._body

    async def _make(self) -> bytes:
        metered, gangs = await asyncio.gather(self._metered(), self._gangs())
        own = msgspec.json.encode({**self._own, "gangs": gangs})
        return own[:-1] + b"," + metered[1:]  # joins two objects into one without parsing the meter's

    async def _metered(self) -> bytes:
        """Return the meter's share; without a meter, why there is none. The gangs are shown all the same."""
        try:
            return await self._meter.state()
        except UnavailableError as error:
            return msgspec.json.encode(
                NOTHING | {"at_s": time.time(), "alerts_unknown": str(error), "unmetered": str(error)}
            )

    async def _gangs(self) -> list[dict[str, Any]]:
        answers = await self._peers.everywhere("view")
        return [_gang(entry, view) for entry, view in gangs_seen(self._roster.roster, answers.given)]


def _gang(entry: GangEntry, view: View) -> dict[str, Any]:
    state = "ready" if view["linked"] and view["routable"] else "linked" if view["linked"] else "not linked"
    return {
        "model": entry.model,
        "shard": entry.shard,
        "replica_id": entry.replica_id,
        "state": state,
        "gpu": _busy(entry),
        **view,
    }


def _busy(entry: GangEntry) -> int | None:
    """Return how busy the node's GPUs are, in percent; None if it has none."""
    gpus = entry.node.gpus
    return round(100 * sum(gpu.busy for gpu in gpus) / len(gpus)) if gpus else None


def _runbook(name: str) -> str:
    folder = _runbooks()
    known = {path.stem: path for path in (*folder.glob("*.md"), *folder.glob("playbooks/*.md"))}
    if name not in known:
        raise InputError(f"no runbook {name[:64]!r}; there are: {', '.join(sorted(known))}", code="unknown_url")
    rendered: str = (
        MarkdownIt("commonmark", {"html": False}).enable("table").render(known[name].read_text(encoding="utf-8"))
    )
    return rendered


@cache
def _files() -> frozenset[str]:
    return frozenset(path.name for path in _folder().iterdir() if path.suffix in KINDS)


@cache
def _file(name: str) -> str:
    return (_folder() / name).read_text(encoding="utf-8")


def _folder() -> Path:
    return Path(calmops.__file__).parent / "console"


def _runbooks() -> Path:
    """Return the runbooks' folder: beside the sources in a checkout, inside the package in a wheel."""
    package = Path(calmops.__file__).parent
    inside = package / "runbooks"
    return inside if inside.is_dir() else package.parents[1] / "runbooks"
