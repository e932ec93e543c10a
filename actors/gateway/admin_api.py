"""Answers the operator API: what runs where, cancel, drain, disable, reports. Each answers for all gateways."""

import time
from collections.abc import Callable, Collection
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Request

from actors.gateway.gang_views import gangs_seen
from actors.gateway.peers import Peers
from actors.gateway.request_body import read_bounded
from actors.gateway.roster_client import RosterClient, cluster_resources
from calmops.foundation.errors import InputError, UnavailableError, UnknownModel, UnknownRequest
from calmops.messages.record import REPORTED, Reported
from calmops.telemetry.log.publisher import GatewayPublisher

_REPORT: dict[int | str, dict[str, Any]] = {400: {"description": "Not a report, or no such model."}}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 10**9}
_REPORT_SCHEMA = {
    "type": "object",
    "required": ["name", "model"],
    "additionalProperties": False,
    "properties": {
        "name": {"enum": list(REPORTED)},
        "model": {"type": "string"},
        "good": _COUNT,
        "bad": _COUNT,
        "value": {"type": ["number", "null"]},
    },
}
_REPORT_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": _REPORT_SCHEMA}}}}
_CANCEL: dict[int | str, dict[str, Any]] = {
    404: {"description": "No such live request."}, 503: {"description": "A gateway didn't answer in time."}
}  # fmt: skip
MOST_REPORT_BYTES = 4096


class ReportBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Holds what a scanner, a judge or a drift job has counted since it reported last."""

    name: Literal["pii_scans", "hallucination_checks", "drift_checks"]
    model: str
    good: Annotated[int, msgspec.Meta(ge=0, le=10**9)] = 0
    bad: Annotated[int, msgspec.Meta(ge=0, le=10**9)] = 0
    value: float | None = None


def build_admin(
    guard: Callable[[Request], None],
    models: Collection[str],
    peers: Peers,
    roster: RosterClient,
    publisher: GatewayPublisher,
) -> APIRouter:
    """Make the routes under /admin. ``guard`` lets operators in and nobody else."""
    router = APIRouter(prefix="/admin", tags=["operator"], dependencies=[Depends(guard)])
    _add_requests(router, peers)
    _add_orders(router, models, roster)

    @router.get("/inventory")
    async def inventory() -> dict[str, Any]:
        """List gateways, models, gangs, ranks with their pids, and each gang's latest step."""
        return await _inventory(models, peers, roster)

    @router.post("/reports", responses=_REPORT, openapi_extra=_REPORT_BODY)
    async def report(request: Request) -> dict[str, Any]:
        """Count answers that a checker judged good or bad (PII, hallucinations, drift), for metrics and objectives."""
        body = _report(await read_bounded(request, MOST_REPORT_BYTES))
        if body.model not in models:
            raise InputError(f"no model {body.model[:64]!r}; there are: {', '.join(models)}", param="model")
        reported = Reported(
            gateway_id=publisher.gateway_id, model=body.model, at_ns=time.time_ns(), name=body.name, good=body.good,
            bad=body.bad, value=body.value, labels=publisher.labels[body.model].rest,
        )  # fmt: skip
        if not publisher.publish(reported):
            raise UnavailableError(f"the report wasn't taken: {publisher.refusal}")
        return {"counted": body.good + body.bad}

    return router


def _add_requests(router: APIRouter, peers: Peers) -> None:
    @router.get("/requests")
    async def requests() -> dict[str, Any]:
        """List live requests of every gateway, and the gateways that didn't answer in time."""
        answers = await peers.everywhere("requests")
        return {"requests": [live for given in answers.given for live in given], "unanswered": answers.unanswered}

    @router.post("/requests/{request_id}/cancel", responses=_CANCEL)
    async def cancel(request_id: str) -> dict[str, Any]:
        """End one live request; its client gets an error event."""
        answers = await peers.everywhere("cancel", request_id)
        if not any(answers.given) and answers.unanswered:
            silent = ", ".join(answers.unanswered)
            raise UnavailableError(
                f"no live request {request_id!r} in the gateways that answered; {silent} didn't: ask again"
            )
        if not any(answers.given):
            raise UnknownRequest(f"no live request {request_id!r}; GET /admin/requests lists them", param="request_id")
        return {"request_id": request_id, "cancelled": True}


def _add_orders(router: APIRouter, models: Collection[str], roster: RosterClient) -> None:
    async def set_disabled(name: str, disabled: bool) -> dict[str, Any]:
        if name not in models:
            raise UnknownModel(f"no model {name!r}; there are: {', '.join(models)}", param="name")
        await roster.set_disabled(name, disabled)
        return {"model": name, "disabled": disabled}

    @router.post("/replicas/{replica_id}/drain", responses={404: {"description": "No such replica."}})
    async def drain(replica_id: str, undo: bool = False) -> dict[str, Any]:
        """Send nothing new to a replica; requests that run there finish."""
        known = [gang.replica_id for gang in roster.roster.gangs]
        if replica_id not in known:
            raise InputError(f"no replica {replica_id!r}; there are: {', '.join(known) or 'none'}", param="replica_id")
        await roster.set_draining(replica_id, not undo)
        return {"replica_id": replica_id, "draining": not undo}

    @router.post("/models/{name}/disable", responses={404: {"description": "No such model."}})
    async def disable(name: str) -> dict[str, Any]:
        """Refuse new requests for a model, with 503; requests that run finish."""
        return await set_disabled(name, True)

    @router.post("/models/{name}/enable", responses={404: {"description": "No such model."}})
    async def enable(name: str) -> dict[str, Any]:
        """Take requests for a model again."""
        return await set_disabled(name, False)


def _report(raw: bytes) -> ReportBody:
    try:
        return msgspec.json.decode(raw, type=ReportBody)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f'not a report: {error}; as in {{"name": "pii_scans", "model": "M", "good": 9, "bad": 1}}'
        ) from error


async def _inventory(models: Collection[str], peers: Peers, roster: RosterClient) -> dict[str, Any]:
    """Put together what this gateway and all others see."""
    answers = await peers.everywhere("view")
    latest = roster.roster
    own = answers.given[0]
    gangs = [
        {
            "model": entry.model,
            "replica_id": entry.replica_id,
            "gang_id": entry.gang_id,
            "shard": entry.shard,
            "node_id": entry.node_id,
            "fingerprint": entry.fingerprint,
            "tp": entry.tp,
            "ranks": [{"rank": member.rank, "pid": member.pid} for member in entry.members],
            **view,
        }
        for entry, view in gangs_seen(latest, answers.given)
    ]
    return {
        "gateway_id": own["gateway_id"],
        "pid": own["pid"],
        "gateways": [{key: value for key, value in view.items() if key != "gangs"} for view in answers.given],
        "unanswered": answers.unanswered,
        "models": [{"name": name, "disabled": name in latest.disabled} for name in models],
        "gangs": gangs,
        "fenced_frames": sum(view["fenced_frames"] for view in answers.given),
        "migrations": sum(view["migrations"] for view in answers.given),
        "telemetry": own["telemetry"],
        "cluster": cluster_resources(),
    }
