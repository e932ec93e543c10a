"""The gateway's way to the meter: its metrics, and its share of the console's state, over one client."""

import ssl
from collections.abc import Callable

import httpx

from calmops.foundation.errors import UnavailableError

METRICS_S, STATE_S = 5.0, 2.0


class MeterClient:
    """Used on one event loop. UnavailableError where there is no meter, or none that answers."""

    def __init__(self, url: Callable[[], str]) -> None:
        """``url``: where the meter's metrics are now; UnavailableError where there is none."""
        self._url = url
        self._client: httpx.AsyncClient | None = None

    async def metrics(self, accept: str) -> httpx.Response:
        """Its counts, in the format that ``accept`` asks for."""
        return await self._get(self._url(), {"accept": accept}, METRICS_S)

    async def state(self) -> bytes:
        """Its share of the console's state: a JSON object."""
        return (await self._get(self._url().removesuffix("/metrics") + "/state", {}, STATE_S)).content

    async def close(self) -> None:
        """Let its connections go."""
        if self._client is not None:
            await self._client.aclose()

    async def _get(self, url: str, headers: dict[str, str], timeout_s: float) -> httpx.Response:
        if (
            self._client is None
        ):  # plain HTTP to a process of ours: no authorities to load, and no proxy of the environment's
            self._client = httpx.AsyncClient(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), trust_env=False)
        try:
            return await self._client.get(url, headers=headers, timeout=timeout_s)
        except httpx.HTTPError as error:
            raise UnavailableError(f"the meter doesn't answer: {type(error).__name__}") from error
