"""Routes HTTP calls of the OpenAI-compatible API, and answers errors in OpenAI's form."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

import calmops
from actors.gateway.error_response import error_response
from actors.gateway.generation import Generation
from actors.gateway.meter_client import MeterClient
from actors.gateway.readiness import Readiness
from calmops.foundation.errors import CalmopsError, InputError, UnknownModel
from calmops.intake.answers import error_body
from calmops.intake.schema import ChatBody, CompletionBody
from calmops.intake.served_model import ServedModel
from calmops.intake.validate import parse_chat, parse_completion

ERRORS = {
    400: "The request is wrong; `param` names the field.", 404: "No such model.", 408: "The deadline passed.",
    429: "Too many requests wait; see Retry-After.", 503: "No healthy replica; see Retry-After.",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiParts:
    """Holds what the API is put together from. ``routers``: the operators' and the console's."""

    gateway_id: str
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]
    served: Mapping[str, ServedModel]
    generation: Generation
    readiness: Readiness
    meter: MeterClient
    routers: Sequence[APIRouter]


def build_api(parts: ApiParts) -> FastAPI:
    """Make the gateway's ASGI application."""
    api = FastAPI(title="calmops", version=calmops.__version__, lifespan=parts.lifespan, docs_url=None, redoc_url=None)
    _add_errors(api)
    _add_generation(api, parts.generation)
    _add_models(api, parts.served)
    _add_probes(api, parts)
    for router in parts.routers:
        api.include_router(router)
    return api


def _add_generation(api: FastAPI, generation: Generation) -> None:
    @api.post("/v1/completions", **_documented(CompletionBody))
    async def completions(request: Request) -> Response:
        """Continue a prompt."""
        return await generation.answer(request, parse_completion)

    @api.post("/v1/chat/completions", **_documented(ChatBody))
    async def chat_completions(request: Request) -> Response:
        """Answer a conversation."""
        return await generation.answer(request, parse_chat)


def _add_models(api: FastAPI, served: Mapping[str, ServedModel]) -> None:
    @api.get("/v1/models")
    async def models() -> dict[str, Any]:
        """List the models that are served here."""
        return {"object": "list", "data": [_card(model) for model in served.values()]}

    @api.get("/v1/models/{name}", responses={404: {"description": ERRORS[404]}})
    async def one_model(name: str) -> dict[str, Any]:
        """Describe one model."""
        if name not in served:
            raise UnknownModel(
                f"no model {name[:64]!r}; there are: {', '.join(served)}", param="model", code="model_not_found"
            )
        return _card(served[name])


def _add_probes(api: FastAPI, parts: ApiParts) -> None:
    @api.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Answer at once: this gateway's event loop turns."""
        return {"status": "ok", "gateway_id": parts.gateway_id}

    @api.get("/readyz", responses={503: {"description": "Some model decodes nothing."}})
    async def readyz() -> JSONResponse:
        """Check that every model really decoded a token lately; an idle model decodes one now."""
        models = await parts.readiness.check()
        ready = all(state == "ready" for state in models.values())
        return JSONResponse({"status": "ready" if ready else "not_ready", "models": models}, 200 if ready else 503)

    @api.get("/metrics", response_class=Response, responses={503: {"description": "No meter is there yet."}})
    async def metrics(request: Request) -> Response:
        """Relay the meter's counts: Prometheus' text format, or OpenMetrics with exemplars if the client accepts it."""
        answer = await parts.meter.metrics(request.headers.get("accept", ""))
        return Response(answer.content, answer.status_code, media_type=answer.headers["content-type"])


def _card(served: ServedModel) -> dict[str, Any]:
    return {
        "id": served.name, "object": "model", "created": served.created, "owned_by": "calmops",
        "context_window": served.context, "release": served.release_digest,
    }  # fmt: skip


def _add_errors(api: FastAPI) -> None:
    @api.exception_handler(CalmopsError)
    async def calmops_error(_request: Request, error: CalmopsError) -> JSONResponse:
        return error_response(error)

    @api.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        wrong = InputError(f"{request.method} {request.url.path[:100]}: {error.detail}", code="unknown_url")
        return JSONResponse(error_body(wrong), error.status_code, headers=error.headers)


def _documented(body: type[CompletionBody] | type[ChatBody]) -> dict[str, Any]:
    """Return what the OpenAPI document says of a generation endpoint; intake parses the body, not FastAPI."""
    schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return {
        "response_class": Response,
        "responses": {status: {"description": text} for status, text in ERRORS.items()},
        "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}},
    }
