"""Is each model really decoding? A token decoded lately says so; when idle, a one-token probe finds out."""

import asyncio
import contextvars
import secrets
import time

from actors.gateway.gateway import Gateway
from calmops.foundation.errors import CalmopsError
from calmops.intake.validate import Intake
from calmops.messages.request import GenerationRequest, SamplingParams

FRESH_S = 10.0  # a token this young proves that a model decodes
PROBE_TIMEOUT_S = 5.0


class Readiness:
    """Checks models, one probe a model at a time however many ask."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._probes: dict[str, asyncio.Task[str]] = {}

    async def check(self) -> dict[str, str]:
        """Model to "ready", or why it isn't."""
        names = [name for name in self._gateway.served if name not in self._gateway.roster.disabled]
        return dict(zip(names, await asyncio.gather(*(self._state(name) for name in names)), strict=True))

    async def _state(self, model: str) -> str:
        last_ns = self._gateway.exchange.last_token_ns.get(model)
        if last_ns is not None and time.monotonic_ns() - last_ns < FRESH_S * 1e9:
            return "ready"
        if model not in self._probes:
            # Of no request: when its client leaves, Serve cancels the calls made in that request's context.
            self._probes[model] = asyncio.create_task(self._probe(model), context=contextvars.Context())
            self._probes[model].add_done_callback(lambda _: self._probes.pop(model, None))
        return await asyncio.shield(self._probes[model])

    async def _probe(self, model: str) -> str:
        request = GenerationRequest(
            request_id=f"probe-{secrets.token_hex(8)}", model=model, prompt_ids=(0,), stream=False,
            params=SamplingParams(max_tokens=1, temperature=0.0), timeout_s=PROBE_TIMEOUT_S, probe=True,
        )  # fmt: skip
        intake = Intake(
            request=request, kind="completion", stream=False, include_usage=False, echo=False, prompt_text=""
        )
        try:
            live = await self._gateway.accept(intake)
        except CalmopsError as error:
            return str(error)
        try:
            while not live.done:
                live.wake.clear()
                await live.wake.wait()
            return "ready" if live.error is None else str(live.error)
        finally:
            self._gateway.close(live)
