"""The operator API: what runs where, cancel, drain, disable. Each answers for all gateways, not only the one asked."""

import hmac
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
import ray
from fastapi import APIRouter, Depends, Request

from actors.cluster.registry import registry
from actors.gateway.gateway import Gateway
from actors.gateway.peers import Peers, merged
from actors.gateway.request_body import read_bounded
from calmops.foundation.errors import CalmopsError, InputError, UnavailableError, UnknownModel, UnknownRequest
from calmops.messages.record import REPORTED, Reported

_REPORT: dict[int | str, dict[str, Any]] = {400: {"description": "Not a report, or no such model."}}
_REPORT_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {
            "type": "object", "required": ["name", "model"], "additionalProperties": False,
            "properties": {
                "name": {"enum": list(REPORTED)}, "model": {"type": "string"}, "good": {"type": "integer", "minimum": 0, "maximum": 10**9},
                "bad": {"type": "integer", "minimum": 0, "maximum": 10**9}, "value": {"type": ["number", "null"]},
            },
        }}},
    }
}  # fmt: skip
_CANCEL: dict[int | str, dict[str, Any]] = {
    404: {"description": "No such live request."}, 503: {"description": "A gateway didn't answer in time."}
}  # fmt: skip


MOST_REPORT_BYTES = 4096


class ReportBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a scanner, a judge or a drift job found since it reported last."""

    name: Literal["pii_scans", "hallucination_checks", "drift_checks"]
    model: str
    good: Annotated[int, msgspec.Meta(ge=0, le=10**9)] = 0
    bad: Annotated[int, msgspec.Meta(ge=0, le=10**9)] = 0
    value: float | None = None


class Forbidden(CalmopsError):
    """The operator's token is missing or wrong."""

    status = 401
    type = "authentication_error"
    code = "invalid_admin_token"


def operators_only(gateway: Gateway) -> Callable[[Request], None]:
    """A dependency of routes that are theirs: Forbidden for a request without the operator's token, where there is one."""

    def allowed(request: Request) -> None:
        token = gateway.admin_token
        given = request.headers.get("authorization", "").encode()
        if token is not None and not hmac.compare_digest(given, f"Bearer {token}".encode()):
            raise Forbidden(
                f"{request.url.path} needs `Authorization: Bearer TOKEN`, the token being in http.admin_token_file"
            )

    return allowed


def build_admin(gateway: Gateway) -> APIRouter:
    """Routes under /admin."""
    peers = Peers(gateway)
    router = APIRouter(prefix="/admin", tags=["operator"], dependencies=[Depends(operators_only(gateway))])

    @router.get("/inventory")
    async def inventory() -> dict[str, Any]:
        """Gateways, models, gangs, ranks with their pids, and each gang's latest step."""
        return await _inventory(gateway, peers)

    @router.get("/requests")
    async def requests() -> dict[str, Any]:
        """Live requests of every gateway, and the gateways that didn't answer in time."""
        answers = await peers.everywhere("requests")
        return {"requests": [one for given in answers.given for one in given], "unanswered": answers.unanswered}

    @router.post("/requests/{request_id}/cancel", responses=_CANCEL)
    async def cancel(request_id: str) -> dict[str, Any]:
        """End one live request; its client gets an error event."""
        answers = await peers.everywhere("cancel", request_id)
        if not any(answers.given) and answers.unanswered:
            raise UnavailableError(
                f"no live request {request_id!r} in the gateways that answered; {', '.join(answers.unanswered)} didn't: "
                "ask again"
            )
        if not any(answers.given):
            raise UnknownRequest(f"no live request {request_id!r}; GET /admin/requests lists them", param="request_id")
        return {"request_id": request_id, "cancelled": True}

    @router.post("/replicas/{replica_id}/drain", responses={404: {"description": "No such replica."}})
    async def drain(replica_id: str, undo: bool = False) -> dict[str, Any]:
        """Send nothing new to a replica; what runs there finishes."""
        known = [gang.replica_id for gang in gateway.roster.gangs]
        if replica_id not in known:
            raise InputError(f"no replica {replica_id!r}; there are: {', '.join(known) or 'none'}", param="replica_id")
        await registry().set_draining.remote(replica_id, not undo)
        return {"replica_id": replica_id, "draining": not undo}

    @router.post("/models/{name}/disable", responses={404: {"description": "No such model."}})
    async def disable(name: str) -> dict[str, Any]:
        """Refuse new requests for a model, with 503; what runs finishes."""
        return await _set_disabled(gateway, name, True)

    @router.post("/models/{name}/enable", responses={404: {"description": "No such model."}})
    async def enable(name: str) -> dict[str, Any]:
        """Take requests for a model again."""
        return await _set_disabled(gateway, name, False)

    @router.post("/reports", responses=_REPORT, openapi_extra=_REPORT_BODY)
    async def report(request: Request) -> dict[str, Any]:
        """Count answers that others found good or bad (PII, hallucinations, drift): they feed metrics and objectives."""
        body = _report(await read_bounded(request, MOST_REPORT_BYTES))
        if body.model not in gateway.served:
            raise InputError(f"no model {body.model[:64]!r}; there are: {', '.join(gateway.served)}", param="model")
        reported = Reported(
            gateway_id=gateway.gateway_id, model=body.model, at_ns=time.time_ns(), name=body.name, good=body.good, bad=body.bad,
            value=body.value, labels=gateway.publisher.labels[body.model],
        )  # fmt: skip
        if not gateway.publisher.publish(reported):
            why = (
                "telemetry is behind; try again in a second"
                if gateway.config.telemetry
                else "telemetry is off, so nothing can be counted"
            )
            raise UnavailableError(f"the report wasn't taken: {why}")
        return {"counted": body.good + body.bad}

    return router


def _report(raw: bytes) -> ReportBody:
    try:
        return msgspec.json.decode(raw, type=ReportBody)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f'not a report: {error}; as in {{"name": "pii_scans", "model": "M", "good": 9, "bad": 1}}'
        ) from error


async def _set_disabled(gateway: Gateway, name: str, disabled: bool) -> dict[str, Any]:
    if name not in gateway.served:
        raise UnknownModel(f"no model {name!r}; there are: {', '.join(gateway.served)}", param="name")
    await registry().set_disabled.remote(name, disabled)
    gateway.roster = await registry().roster.remote()
    return {"model": name, "disabled": disabled}


async def _inventory(gateway: Gateway, peers: Peers) -> dict[str, Any]:
    """What the asked gateway and all others see, put together."""
    answers = await peers.everywhere("view")
    roster = gateway.roster
    own = answers.given[0]
    gangs = []
    for entry in roster.gangs:
        views = [view["gangs"][entry.gang_id] for view in answers.given if entry.gang_id in view["gangs"]]
        gangs.append({
            "model": entry.model, "replica_id": entry.replica_id, "gang_id": entry.gang_id, "shard": entry.shard,
            "node_id": entry.node_id, "fingerprint": entry.fingerprint, "tp": entry.tp,
            "ranks": [{"rank": one.rank, "pid": one.pid} for one in entry.members],
            "draining": entry.replica_id in roster.draining, **merged(views),
        })  # fmt: skip
    return {
        "gateway_id": own["gateway_id"],
        "pid": own["pid"],
        "gateways": [{key: value for key, value in view.items() if key != "gangs"} for view in answers.given],
        "unanswered": answers.unanswered,
        "models": [{"name": name, "disabled": name in roster.disabled} for name in gateway.served],
        "gangs": gangs,
        "fenced_frames": sum(view["fenced_frames"] for view in answers.given),
        "migrations": sum(view["migrations"] for view in answers.given),
        "telemetry": own["telemetry"],
        "cluster": {key: amount for key, amount in ray.cluster_resources().items() if ":" not in key},
    }
