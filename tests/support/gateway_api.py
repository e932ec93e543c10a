"""Makes a gateway's API of hand-written parts, and calls it without a network."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

import calmops
from actors.gateway.api import ApiParts, build_api
from actors.gateway.generation import Generation
from actors.gateway.live_request import LiveRequest
from calmops.foundation.config_sections import LimitsConfig
from calmops.foundation.errors import CalmopsError, TokenizationError
from calmops.intake.served_model import ServedModel, load_served
from calmops.intake.validate import Intake
from tests.support.live_requests import live_request, say

MODEL = "stdlib-5m"
RELEASE = Path(calmops.__file__).parent / "models" / MODEL
NO_PARTS: Any = None  # stands for a part that the test's routes don't use


class Lifecycle:
    """Stands in for the request lifecycle: answers what it accepts with ``texts``, or with its ``error``."""

    def __init__(self) -> None:
        self.texts = ["Hello", " world"]
        self.error: CalmopsError | None = None  # ends every accepted request
        self.refusal: CalmopsError | None = None  # raised in place of accepting
        self.live_ids: set[str] = set()
        self.accepted: list[Intake] = []
        self.closed: list[tuple[str, int]] = []  # request id, unsent tokens
        self.refused: list[tuple[str, ...]] = []

    @property
    def attempts(self) -> "Lifecycle":
        return self

    def is_live(self, request_id: str) -> bool:
        return request_id in self.live_ids

    async def accept(self, intake: Intake) -> LiveRequest:
        if self.refusal is not None:
            raise self.refusal
        self.accepted.append(intake)
        live = live_request(intake)
        for number, text in enumerate(self.texts, 1):
            say(live, text, finish_reason="stop" if number == len(self.texts) and self.error is None else None)
        live.end(self.error)
        return live

    def close(self, live: LiveRequest, *, unsent: int = 0) -> None:
        self.closed.append((live.request_id, unsent))

    def refuse(self, outcome: str, request_id: str, model: str = "unknown") -> None:
        self.refused.append((outcome, request_id, model))

    def refuse_untokenized(self, error: TokenizationError, request_id: str) -> None:
        self.refused.append((error.stage, request_id, error.model))


class Api:
    """A gateway's API. ``parts`` take the place of parts that were made for it."""

    def __init__(self, *, limits: LimitsConfig | None = None, **parts: Any) -> None:
        self.lifecycle = Lifecycle()
        self.served: dict[str, ServedModel] = parts.pop("served", None) or {MODEL: load_served(RELEASE, MODEL)}
        lifecycle: Any = self.lifecycle
        made: dict[str, Any] = {
            "gateway_id": "gw", "lifespan": _nothing, "served": self.served,
            "generation": Generation(self.served, limits or LimitsConfig(), ("team",), lifecycle),
            "readiness": NO_PARTS, "meter": NO_PARTS, "routers": (),
        }  # fmt: skip
        self.app = build_api(ApiParts(**{**made, **parts}))

    def call(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send one call and return the whole answer."""

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                return await client.request(method, path, **request)

        return asyncio.run(send())

    def get(self, path: str, **request: Any) -> httpx.Response:
        return self.call("GET", path, **request)

    def post(self, path: str, body: Any = None, **request: Any) -> httpx.Response:
        return self.call("POST", path, **({} if body is None else {"json": body}), **request)


@asynccontextmanager
async def _nothing(_app: FastAPI) -> AsyncIterator[None]:
    yield
