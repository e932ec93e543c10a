"""Checks that each model really decodes: a token decoded lately shows it; an idle model gets a one-token probe."""

import asyncio
import contextvars
import secrets
import time
from collections.abc import Callable, Mapping, Sequence

from actors.gateway.request_lifecycle import RequestLifecycle
from calmops.foundation.errors import CalmopsError
from calmops.intake.validate import Intake
from calmops.messages.request import GenerationRequest, SamplingParams

FRESH_S = 10.0  # a token this young proves that a model decodes
PROBE_TIMEOUT_S = 5.0


class Readiness:
    """Checks models, with one probe per model at a time however many callers ask."""

    def __init__(
        self, models: Callable[[], Sequence[str]], last_token_ns: Mapping[str, int], lifecycle: RequestLifecycle
    ) -> None:
        """``models`` returns those in service; ``last_token_ns`` says by model when its last token came, monotonic."""
        self._models, self._last_token_ns, self._lifecycle = models, last_token_ns, lifecycle
        self._probes: dict[str, asyncio.Task[str]] = {}

    async def check(self) -> dict[str, str]:
        """Map each model to "ready", or to why it isn't."""
        names = self._models()
        return dict(zip(names, await asyncio.gather(*(self._state(name) for name in names)), strict=True))

    async def _state(self, model: str) -> str:
        last_ns = self._last_token_ns.get(model)
        if last_ns is not None and time.monotonic_ns() - last_ns < FRESH_S * 1e9:
            return "ready"
        if model not in self._probes:
            # A probe has a context of its own: when a client leaves, Serve cancels the calls of its request's context.
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
            live = await self._lifecycle.accept(intake)
        except CalmopsError as error:
            return str(error)
        try:
            while not live.done:
                live.wake.clear()
                await live.wake.wait()
            return "ready" if live.error is None else str(live.error)
        finally:
            self._lifecycle.close(live)
