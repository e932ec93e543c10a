"""Asks the meter for its metrics and for its share of the console's state, over one HTTP client."""

import ssl
from collections.abc import Callable

import httpx

from calmops.foundation.errors import UnavailableError

METRICS_S, STATE_S = 5.0, 2.0


class MeterClient:
    """Asks the meter, on one event loop. Raises UnavailableError if there is no meter, or it doesn't answer."""

    def __init__(self, url: Callable[[], str]) -> None:
        """``url`` returns where the meter's metrics are now; it raises UnavailableError if there is no meter."""
        self._url = url
        self._client: httpx.AsyncClient | None = None

    async def metrics(self, accept: str) -> httpx.Response:
        """Ask for the counts, in the format that ``accept`` names."""
        return await self._get(self._url(), {"accept": accept}, METRICS_S)

    async def state(self) -> bytes:
        """Ask for the meter's share of the console's state: a JSON object."""
        return (await self._get(self._url().removesuffix("/metrics") + "/state", {}, STATE_S)).content

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _get(self, url: str, headers: dict[str, str], timeout_s: float) -> httpx.Response:
        if self._client is None:
            # It is plain HTTP to a process of ours: no certificates to load, and no proxy from the environment.
            self._client = httpx.AsyncClient(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), trust_env=False)
        try:
            return await self._client.get(url, headers=headers, timeout=timeout_s)
        except httpx.HTTPError as error:
            raise UnavailableError(f"the meter doesn't answer: {type(error).__name__}") from error
