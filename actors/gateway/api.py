"""The OpenAI-compatible API: routes, error objects, headers. Parses and answers through ``calmops.intake``."""

import secrets
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

import calmops
from actors.gateway.admin_api import build_admin
from actors.gateway.console_api import build_console
from actors.gateway.gateway import Gateway
from actors.gateway.readiness import Readiness
from actors.gateway.request_body import read_bounded
from actors.gateway.responses import EventStream, WholeAnswer
from calmops.foundation.errors import (
    CalmopsError,
    InputError,
    LoadError,
    TokenizationError,
    UnavailableError,
    UnknownModel,
)
from calmops.intake.answers import error_body
from calmops.intake.schema import ChatBody, CompletionBody
from calmops.intake.validate import Context, parse_chat, parse_completion
from calmops.tracing.context import forwarded_headers, parse_baggage

REQUEST_ID_CHARS = 128
ERRORS = {
    400: "The request is wrong; `param` names the field.", 404: "No such model.", 408: "The deadline passed.",
    429: "Too many requests wait; see Retry-After.", 503: "No healthy replica; see Retry-After.",
}  # fmt: skip


def build_api(gateway: Gateway) -> FastAPI:
    """The gateway's ASGI application."""
    api = FastAPI(
        title="calmops", version=calmops.__version__, lifespan=gateway.lifespan, docs_url=None, redoc_url=None
    )
    readiness = Readiness(gateway)
    _add_errors(api)
    _add_generation(api, gateway)
    _add_models(api, gateway)

    @api.get("/healthz")
    async def healthz() -> dict[str, str]:
        """This gateway's event loop turns."""
        return {"status": "ok", "gateway_id": gateway.gateway_id}

    @api.get("/readyz", responses={503: {"description": "Some model decodes nothing."}})
    async def readyz() -> JSONResponse:
        """Every model really decoded a token lately; when idle, one is decoded now."""
        models = await readiness.check()
        ready = all(state == "ready" for state in models.values())
        return JSONResponse({"status": "ready" if ready else "not_ready", "models": models}, 200 if ready else 503)

    @api.get("/metrics", response_class=Response, responses={503: {"description": "No meter is there yet."}})
    async def metrics(request: Request) -> Response:
        """The meter's counts, in Prometheus' text format, or in OpenMetrics with exemplars for whoever accepts it."""
        answer = await gateway.meter.metrics(request.headers.get("accept", ""))
        return Response(answer.content, answer.status_code, media_type=answer.headers["content-type"])

    api.include_router(build_admin(gateway))
    api.include_router(build_console(gateway))
    return api


def _add_generation(api: FastAPI, gateway: Gateway) -> None:
    @api.post("/v1/completions", **_described(CompletionBody))
    async def completions(request: Request) -> Response:
        """Continue a prompt."""
        return await _generate(gateway, request, parse_completion)

    @api.post("/v1/chat/completions", **_described(ChatBody))
    async def chat_completions(request: Request) -> Response:
        """Answer a conversation."""
        return await _generate(gateway, request, parse_chat)


def _add_models(api: FastAPI, gateway: Gateway) -> None:
    @api.get("/v1/models")
    async def models() -> dict[str, Any]:
        """What is served here."""
        return {"object": "list", "data": [_card(gateway, name) for name in gateway.served]}

    @api.get("/v1/models/{name}", responses={404: {"description": ERRORS[404]}})
    async def one_model(name: str) -> dict[str, Any]:
        """One model."""
        if name not in gateway.served:
            raise UnknownModel(
                f"no model {name[:64]!r}; there are: {', '.join(gateway.served)}", param="model", code="model_not_found"
            )
        return _card(gateway, name)


async def _generate(gateway: Gateway, request: Request, parse: Any) -> Response:
    request_id = _request_id(request)
    if gateway.exchange.find(request_id) is not None:
        raise InputError(f"x-request-id {request_id!r} is that of a live request; send another", param="x-request-id")
    raw = await read_bounded(request, gateway.config.limits.max_body_bytes)
    headers = request.headers
    context = Context(
        served=gateway.served, limits=gateway.intake_limits, draw_seed=gateway.draw_seed, request_id=request_id,
        **forwarded_headers(headers), baggage=parse_baggage(headers.get("baggage"), gateway.config.tracing.baggage),
    )  # fmt: skip
    try:
        intake = parse(raw, context)
    except InputError:
        gateway.refused("refused_input", request_id)
        raise
    except TokenizationError as error:
        gateway.publisher.count(error.model, "tokenization_errors", error.stage)
        gateway.refused("failed", request_id, error.model)
        raise
    try:
        live = await gateway.accept(intake)
    except (LoadError, UnavailableError):
        gateway.refused("refused_load", request_id, intake.request.model)
        raise
    return EventStream(gateway, live) if intake.stream else WholeAnswer(gateway, live)


def _request_id(request: Request) -> str:
    """The caller's x-request-id. Serve makes one for callers that sent none, and returns it with every answer."""
    given = request.headers.get("x-request-id")
    if given is None:
        return f"req-{secrets.token_hex(12)}"
    if not 0 < len(given) <= REQUEST_ID_CHARS or not all("!" <= char <= "~" and char not in '/,;"' for char in given):
        raise InputError(
            f"x-request-id must be 1 to {REQUEST_ID_CHARS} printable ASCII characters without space / , ; and quotes; "
            f"it has {len(given)}", param="x-request-id",
        )  # fmt: skip
    return given


def _card(gateway: Gateway, name: str) -> dict[str, Any]:
    served = gateway.served[name]
    return {
        "id": name, "object": "model", "created": served.created, "owned_by": "calmops",
        "context_window": served.context, "release": served.release_digest,
    }  # fmt: skip


def _add_errors(api: FastAPI) -> None:
    @api.exception_handler(CalmopsError)
    async def known(_request: Request, error: CalmopsError) -> JSONResponse:
        return error_response(error)

    @api.exception_handler(HTTPException)
    async def routing(request: Request, error: HTTPException) -> JSONResponse:
        wrong = InputError(f"{request.method} {request.url.path[:100]}: {error.detail}", code="unknown_url")
        return JSONResponse(error_body(wrong), error.status_code, headers=error.headers)


def error_response(error: CalmopsError) -> JSONResponse:
    """An error as OpenAI's API answers it."""
    headers: dict[str, str] = {}
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        headers["retry-after"] = str(retry_after_s)
    return JSONResponse(error_body(error), error.status, headers=headers)


def _described(body: type[CompletionBody] | type[ChatBody]) -> dict[str, Any]:
    """What the OpenAPI document says of a generation endpoint; the body itself is parsed by intake, not by FastAPI."""
    schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return {
        "response_class": Response,
        "responses": {status: {"description": text} for status, text in ERRORS.items()},
        "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}},
    }
