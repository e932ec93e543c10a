"""Makes a live request and its response of an HTTP call, for both generation endpoints."""

import secrets
from collections.abc import Callable, Mapping

from fastapi import Request, Response

from actors.gateway.request_body import read_bounded
from actors.gateway.request_lifecycle import RequestLifecycle
from actors.gateway.responses import EventStream, WholeAnswer
from calmops.foundation.config_sections import LimitsConfig
from calmops.foundation.errors import InputError, LoadError, TokenizationError, UnavailableError
from calmops.intake.limits import IntakeLimits
from calmops.intake.served_model import ServedModel
from calmops.intake.validate import Context, Intake
from calmops.tracing.context import forwarded_headers, parse_baggage

REQUEST_ID_CHARS = 128
Parse = Callable[[bytes, Context], Intake]


class Generation:
    """Answers generation calls of one gateway."""

    def __init__(
        self,
        served: Mapping[str, ServedModel],
        limits: LimitsConfig,
        baggage: tuple[str, ...],
        lifecycle: RequestLifecycle,
    ) -> None:
        """``baggage`` names the caller's baggage entries that are kept."""
        self._served, self._limits, self._baggage, self._lifecycle = served, limits, baggage, lifecycle
        self._intake_limits = IntakeLimits(body_bytes=limits.max_body_bytes, n=limits.max_n, timeout_s=limits.timeout_s)

    async def answer(self, request: Request, parse: Parse) -> Response:
        """Read, parse and accept one call. Raises the typed error that the API answers it with."""
        request_id = _request_id(request)
        if self._lifecycle.attempts.is_live(request_id):
            raise InputError(
                f"x-request-id {request_id!r} is that of a live request; send another", param="x-request-id"
            )
        raw = await read_bounded(request, self._limits.max_body_bytes)
        intake = self._parsed(raw, request, request_id, parse)
        try:
            live = await self._lifecycle.accept(intake)
        except (LoadError, UnavailableError):
            self._lifecycle.refuse("refused_load", request_id, intake.request.model)
            raise
        if intake.stream:
            return EventStream(live, self._lifecycle.close, self._limits.keepalive_s)
        return WholeAnswer(live, self._lifecycle.close)

    def _parsed(self, raw: bytes, request: Request, request_id: str, parse: Parse) -> Intake:
        headers = request.headers
        context = Context(
            served=self._served, limits=self._intake_limits, draw_seed=draw_seed, request_id=request_id,
            **forwarded_headers(headers), baggage=parse_baggage(headers.get("baggage"), self._baggage),
        )  # fmt: skip
        try:
            return parse(raw, context)
        except InputError:
            self._lifecycle.refuse("refused_input", request_id)
            raise
        except TokenizationError as error:
            self._lifecycle.refuse_untokenized(error, request_id)
            raise


def draw_seed() -> int:
    """Draw a seed for a request that brought none. The response names it, so that the answer can be had again."""
    return secrets.randbits(63)


def _request_id(request: Request) -> str:
    """Return the caller's x-request-id. Serve makes one for a caller without one, and returns it with every answer."""
    given = request.headers.get("x-request-id")
    if given is None:
        return f"req-{secrets.token_hex(12)}"
    if not 0 < len(given) <= REQUEST_ID_CHARS or not all("!" <= char <= "~" and char not in '/,;"' for char in given):
        raise InputError(
            f"x-request-id must be 1 to {REQUEST_ID_CHARS} printable ASCII characters without space / , ; and quotes; "
            f"it has {len(given)}", param="x-request-id",
        )  # fmt: skip
    return given
