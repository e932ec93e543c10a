"""The operator API: what runs where, cancel, drain, disable. Each answers for all gateways, not only the one asked."""

import hmac
import os
import time
from typing import Any

import ray
from fastapi import APIRouter, Depends, Request

from actors.gateway import Gateway
from actors.health import health
from actors.routing_book import BOOK
from calmops.foundation.errors import CalmopsError, InputError, UnknownModel, UnknownRequest


class Forbidden(CalmopsError):
    """The operator's token is missing or wrong."""

    status = 401
    type = "authentication_error"
    code = "invalid_admin_token"


def build_admin(gateway: Gateway) -> APIRouter:
    """Routes under /admin."""

    def allowed(request: Request) -> None:
        token = gateway.admin_token
        given = request.headers.get("authorization", "").encode()
        if token is not None and not hmac.compare_digest(given, f"Bearer {token}".encode()):
            raise Forbidden("/admin needs `Authorization: Bearer TOKEN`, the token being in http.admin_token_file")

    router = APIRouter(prefix="/admin", tags=["operator"], dependencies=[Depends(allowed)])

    @router.get("/inventory")
    async def inventory() -> dict[str, Any]:
        """Gateways, models, gangs, ranks with their pids, and each gang's latest step."""
        return _inventory(gateway)

    @router.get("/requests")
    async def requests() -> dict[str, Any]:
        """Live requests of every gateway."""
        return {"requests": [one for answer in await _ask_all(gateway, "requests") for one in answer]}

    @router.post("/requests/{request_id}/cancel", responses={404: {"description": "No such live request."}})
    async def cancel(request_id: str) -> dict[str, Any]:
        """End one live request; its client gets an error event."""
        if not any(await _ask_all(gateway, "cancel", request_id)):
            raise UnknownRequest(f"no live request {request_id!r}; GET /admin/requests lists them", param="request_id")
        return {"request_id": request_id, "cancelled": True}

    @router.post("/replicas/{replica_id}/drain", responses={404: {"description": "No such replica."}})
    async def drain(replica_id: str, undo: bool = False) -> dict[str, Any]:
        """Send nothing new to a replica; what runs there finishes."""
        known = [gang.replica_id for gang in gateway.roster.gangs]
        if replica_id not in known:
            raise InputError(f"no replica {replica_id!r}; there are: {', '.join(known) or 'none'}", param="replica_id")
        await health().set_draining.remote(replica_id, not undo)
        return {"replica_id": replica_id, "draining": not undo}

    @router.post("/models/{name}/disable", responses={404: {"description": "No such model."}})
    async def disable(name: str) -> dict[str, Any]:
        """Refuse new requests for a model, with 503; what runs finishes."""
        return await _set_disabled(gateway, name, True)

    @router.post("/models/{name}/enable", responses={404: {"description": "No such model."}})
    async def enable(name: str) -> dict[str, Any]:
        """Take requests for a model again."""
        return await _set_disabled(gateway, name, False)

    return router


async def _set_disabled(gateway: Gateway, name: str, disabled: bool) -> dict[str, Any]:
    if name not in gateway.served:
        raise UnknownModel(f"no model {name!r}; there are: {', '.join(gateway.served)}", param="name")
    await health().set_disabled.remote(name, disabled)
    gateway.roster = await health().roster.remote()
    return {"model": name, "disabled": disabled}


async def _ask_all(gateway: Gateway, question: str, *args: str) -> list[Any]:
    """The answers of all gateways. One runs in this release, so it is this one's."""
    return [getattr(gateway, f"{question}_here")(*args)]


def _inventory(gateway: Gateway) -> dict[str, Any]:
    roster = gateway.roster
    views = {gang.gang_id: gang for gang in gateway.switchboard.links.gangs()}
    now_ns = time.monotonic_ns()
    gangs = []
    for entry in roster.gangs:
        view = views.get(entry.gang_id)
        facts = view.facts if view else None
        gangs.append({
            "model": entry.model, "replica_id": entry.replica_id, "gang_id": entry.gang_id, "shard": entry.shard,
            "node_id": entry.node_id, "fingerprint": entry.fingerprint, "tp": entry.tp,
            "ranks": [{"rank": one.rank, "pid": one.pid} for one in entry.members],
            "draining": entry.replica_id in roster.draining, "tokens_in_flight": BOOK.tokens(entry.replica_id),
            "routable": entry.replica_id in BOOK.routable, "linked": view is not None, "step": view.step if view else None,
            "heard_ms_ago": (now_ns - view.heard_ns) // 1_000_000 if view else None,
            "running": facts.running if facts else 0, "waiting": facts.waiting if facts else 0,
            "kv_blocks_used": facts.kv_blocks_used if facts else 0,
            "kv_blocks_total": facts.kv_blocks_total if facts else None,
        })  # fmt: skip
    models = [{"name": name, "disabled": name in roster.disabled} for name in gateway.served]
    return {
        "gateway_id": gateway.gateway_id,
        "pid": os.getpid(),
        "gateways": [entry.gateway_id for entry in roster.gateways],
        "models": models,
        "gangs": gangs,
        "fenced_frames": gateway.switchboard.fenced,
        "migrations": gateway.driver.migrations,
        "telemetry": gateway.publisher.stats(),
        "cluster": {key: amount for key, amount in ray.cluster_resources().items() if ":" not in key},
    }
