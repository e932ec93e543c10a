"""/console: the page for people without a Grafana, its state, and the runbooks that alerts link to."""

import asyncio
import time
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import msgspec
from fastapi import APIRouter, Depends, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from markdown_it import MarkdownIt

import calmops
from actors.gateway.admin_api import operators_only
from actors.gateway.gateway import Gateway
from actors.gateway.peers import Peers, merged
from calmops.foundation.errors import InputError, UnavailableError
from calmops.messages.roster import GangEntry

KINDS = {".css": "text/css", ".js": "text/javascript"}
EVERY_S = 0.9  # a page asks each second
NOTHING: dict[str, Any] = {"figures": [], "alerts": [], "objectives": [], "requests": [], "hidden": 0}
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{title}</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="/console/console.css"></head><body><main class="prose"><p><a href="/console">console</a></p>{body}</main></body></html>"""


def build_console(gateway: Gateway) -> APIRouter:
    """Routes under /console. What they show holds no content, as the metrics hold none."""
    shown = ConsoleState(gateway)
    router = APIRouter(prefix="/console", include_in_schema=False)

    @router.get("")
    async def page() -> HTMLResponse:
        """The page."""
        return HTMLResponse(_file("page.html"))

    @router.get("/")
    async def beside() -> RedirectResponse:
        """The same page."""
        return RedirectResponse("/console", 308)

    @router.get("/state", dependencies=[Depends(operators_only(gateway))])
    async def state() -> Response:
        """All that the page shows."""
        return Response(await shown.body(), media_type="application/json")

    @router.get("/runbooks/{name}.md")
    async def runbook(name: str) -> HTMLResponse:
        """A runbook or a playbook, as a page."""
        return HTMLResponse(PAGE.format(title=escape(name), body=_runbook(name)))

    @router.get("/{name}")
    async def file(name: str) -> Response:
        """A style sheet or a script of the page."""
        kind = KINDS.get(Path(name).suffix)
        if kind is None or name not in _files():
            raise InputError(
                f"GET /console/{name[:64]}: there is no such file; GET /console is the page", code="unknown_url"
            )
        return Response(_file(name), media_type=kind)

    return router


class ConsoleState:
    """All that the page shows, as JSON. Made once in EVERY_S at most, however many pages are open."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._peers = Peers(gateway)
        self._lock = asyncio.Lock()
        self._body = b""
        self._made_s = float("-inf")

    async def body(self) -> bytes:
        """As it is now."""
        async with self._lock:
            if time.monotonic() - self._made_s >= EVERY_S:
                self._body = await self._make()
                self._made_s = time.monotonic()
            return self._body

    async def _make(self) -> bytes:
        seen, gangs = await asyncio.gather(self._seen(), _gangs(self._gateway, self._peers))
        own = msgspec.json.encode({
            "gateway": self._gateway.gateway_id, "version": calmops.__version__, "environment": self._gateway.config.environment, "gangs": gangs,
        })  # fmt: skip
        return own[:-1] + b"," + seen[1:]  # two objects as one, without reading the meter's

    async def _seen(self) -> bytes:
        """The meter's share; without a meter, why there is none: the gangs are shown all the same."""
        try:
            return await self._gateway.meter.state()
        except UnavailableError as error:
            return msgspec.json.encode(
                NOTHING | {"at_s": time.time(), "alerts_unknown": str(error), "unmetered": str(error)}
            )


async def _gangs(gateway: Gateway, peers: Peers) -> list[dict[str, Any]]:
    """Each gang of the roster, as all gateways see it."""
    answers = await peers.everywhere("view")
    shown = []
    for entry in sorted(gateway.roster.gangs, key=lambda one: (one.model, one.shard)):
        views = [view["gangs"][entry.gang_id] for view in answers.given if entry.gang_id in view["gangs"]]
        if not views:
            continue
        gang = merged(views)
        state = "ready" if gang["linked"] and gang["routable"] else "linked" if gang["linked"] else "not linked"
        shown.append({
            "model": entry.model, "shard": entry.shard, "replica_id": entry.replica_id, "state": state,
            "draining": entry.replica_id in gateway.roster.draining, "gpu": _busy(entry), **gang,
        })  # fmt: skip
    return shown


def _busy(entry: GangEntry) -> int | None:
    """Of its node's GPUs, in percent; None where there is none."""
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
    """Beside the sources in a checkout, inside the package in a wheel."""
    package = Path(calmops.__file__).parent
    inside = package / "runbooks"
    return inside if inside.is_dir() else package.parents[1] / "runbooks"
