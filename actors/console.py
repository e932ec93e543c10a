"""/console: the page for people without a Grafana, its state, and the runbooks that alerts link to."""

import asyncio
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import httpx
from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from markdown_it import MarkdownIt

import calmops
from actors.gateway import Gateway
from actors.peers import Peers, merged
from actors.roster import GangEntry
from calmops.foundation.errors import InputError, UnavailableError

KINDS = {".css": "text/css", ".js": "text/javascript"}
METER_S = 2.0
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{title}</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="/console/console.css"></head><body><main class="prose"><p><a href="/console">console</a></p>{body}</main></body></html>"""


def build_console(gateway: Gateway) -> APIRouter:
    """Routes under /console. What they show holds no content, as the metrics hold none."""
    peers = Peers(gateway)
    router = APIRouter(prefix="/console", include_in_schema=False)

    @router.get("")
    async def page() -> HTMLResponse:
        """The page."""
        return HTMLResponse(_file("page.html"))

    @router.get("/")
    async def beside() -> RedirectResponse:
        """The same page."""
        return RedirectResponse("/console", 308)

    @router.get("/state")
    async def state() -> dict[str, Any]:
        """All that the page shows."""
        seen, gangs = await asyncio.gather(_seen(gateway), _gangs(gateway, peers))
        return {
            "gateway": gateway.gateway_id, "version": calmops.__version__, "environment": gateway.config.environment, "gangs": gangs, **seen
        }  # fmt: skip

    @router.get("/runbooks/{name}.md")
    async def runbook(name: str) -> HTMLResponse:
        """A runbook or a playbook, as a page."""
        return HTMLResponse(PAGE.format(title=escape(name), body=_runbook(name)))

    @router.get("/{name}")
    async def file(name: str) -> Response:
        """A style sheet or a script of the page."""
        kind = KINDS.get(Path(name).suffix)
        if kind is None or name not in _files():
            raise InputError(f"GET /console/{name[:64]}: there is no such file; GET /console is the page", code="unknown_url")
        return Response(_file(name), media_type=kind)

    return router


async def _seen(gateway: Gateway) -> dict[str, Any]:
    """The meter's share of the state."""
    url = gateway.meter_url().removesuffix("/metrics") + "/state"
    try:
        async with httpx.AsyncClient(timeout=METER_S) as client:
            answer = await client.get(url)
    except httpx.HTTPError as error:
        raise UnavailableError(f"the meter doesn't answer: {type(error).__name__}") from error
    seen: dict[str, Any] = answer.json()
    return seen


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
    rendered: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(known[name].read_text(encoding="utf-8"))
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
