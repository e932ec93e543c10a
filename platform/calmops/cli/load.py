"""The load generator sends streamed completions, some at a time, and reports what each client saw on its own clock."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx

from calmops.cli.client import Server
from calmops.cli.sse_pieces import piece
from calmops.foundation.quantiles import percentiles

WORDS = "def return self import class for if in not value name list data file path result None True error print".split()


class Load(NamedTuple):
    """States what to send. Prompts have ``prompt_tokens`` words of about one token; the true count is reported."""

    model: str
    requests: int
    concurrency: int
    prompt_tokens: int
    max_tokens: int
    temperature: float = 1.0
    seed: int = 0


class Observation(NamedTuple):
    """Holds what a client saw of one request. ``error`` is None if the request ended well."""

    ttft_ns: int | None
    gaps_ns: tuple[int, ...]  # between events that brought text
    duration_ns: int
    prompt_tokens: int
    tokens: int
    error: str | None


async def send(server: Server, load: Load, on_end: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Send the whole load and return the report (see summary). ``on_end`` is called as each request ends."""
    numbers = iter(range(load.requests))
    observations: list[Observation] = []
    began_ns = time.monotonic_ns()
    async with server.async_client(load.concurrency) as http:

        async def worker() -> None:
            for number in numbers:
                observations.append(await _observe(http, body(load, number)))
                on_end()

        await asyncio.gather(*(worker() for _ in range(min(load.concurrency, load.requests))))
    return summary(load, observations, time.monotonic_ns() - began_ns)


def body(load: Load, number: int) -> dict[str, Any]:
    """Return the body of request ``number``. The same load has the same bodies, so that runs can be compared."""
    words = random.Random(f"{load.seed}/{number}").choices(WORDS, k=load.prompt_tokens)
    return {
        "model": load.model, "prompt": " ".join(words), "max_tokens": load.max_tokens, "temperature": load.temperature,
        "seed": load.seed * 1_000_003 + number, "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip


def summary(load: Load, observations: list[Observation], elapsed_ns: int) -> dict[str, Any]:
    """Return the report: counts, rates over the whole run, percentiles over the requests that ended well."""
    good = [one for one in observations if one.error is None]
    errors = Counter(one.error for one in observations if one.error is not None)
    tokens = sum(one.tokens for one in good)
    return {
        "load": load._asdict(),
        "elapsed_s": elapsed_ns / 1e9,
        "completed": len(good),
        "failed": len(observations) - len(good),
        "errors": dict(errors.most_common()),
        "prompt_tokens": sum(one.prompt_tokens for one in good),
        "tokens": tokens,
        "tokens_per_s": tokens / (elapsed_ns / 1e9) if elapsed_ns else 0.0,
        "requests_per_s": len(good) / (elapsed_ns / 1e9) if elapsed_ns else 0.0,
        "ttft": percentiles([one.ttft_ns for one in good if one.ttft_ns is not None])._asdict(),
        "inter_token": percentiles([gap for one in good for gap in one.gaps_ns])._asdict(),
        "duration": percentiles([one.duration_ns for one in good])._asdict(),
    }


async def _observe(http: httpx.AsyncClient, request: dict[str, Any]) -> Observation:
    began_ns = time.monotonic_ns()
    arrivals_ns: list[int] = []
    usage: dict[str, int] = {}
    try:
        error = await _read(http, request, arrivals_ns, usage)
    except httpx.HTTPError as failure:
        error = type(failure).__name__
    return Observation(
        ttft_ns=arrivals_ns[0] - began_ns if arrivals_ns else None,
        gaps_ns=tuple(later - earlier for earlier, later in itertools.pairwise(arrivals_ns)),
        duration_ns=time.monotonic_ns() - began_ns,
        prompt_tokens=usage.get("prompt_tokens", 0),
        tokens=usage.get("completion_tokens", 0),
        error=error,
    )


async def _read(
    http: httpx.AsyncClient, request: dict[str, Any], arrivals_ns: list[int], usage: dict[str, int]
) -> str | None:
    """Read one stream to its end; return what went wrong, None if nothing did."""
    async with http.stream("POST", "/v1/completions", json=request) as response:
        if response.is_error:
            return f"HTTP {response.status_code}"
        async for line in response.aiter_lines():
            event = piece(line)
            if event is None:
                continue
            if event.error is not None:
                return f"error event: {event.error[:120]}"
            if event.text:
                arrivals_ns.append(time.monotonic_ns())
            if event.completion_tokens is not None:
                usage.update(prompt_tokens=event.prompt_tokens or 0, completion_tokens=event.completion_tokens)
            if event.done:
                return None
    return "cut short: no [DONE]"
