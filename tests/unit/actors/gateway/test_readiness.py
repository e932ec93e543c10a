"""The probe behind /readyz belongs to none of the callers that wait for it."""

import asyncio
import contextvars
from types import SimpleNamespace
from typing import Any

from actors.gateway.readiness import Readiness

ASKING = contextvars.ContextVar("ASKING", default="nobody")


def test_a_probe_runs_outside_the_context_of_the_request_that_asked() -> None:
    seen = []

    async def accept(_intake: object) -> Any:
        seen.append(ASKING.get())
        return SimpleNamespace(done=True, error=None)

    lifecycle: Any = SimpleNamespace(accept=accept, close=lambda _live: None)

    async def ask() -> dict[str, str]:
        ASKING.set("a client that may leave")
        return await Readiness(lambda: ["m"], {}, lifecycle).check()

    assert asyncio.run(ask()) == {"m": "ready"}
    assert seen == ["nobody"], "Serve would cancel the probe's calls with that client's request"
