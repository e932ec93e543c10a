"""Measures what HTTP costs: tokens per second through the platform, telemetry on, over those of the engine alone.

Both run the same waves on the same machine in turns (ABBA), so that other load on the machine slows both.
"""

import asyncio
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from tests.bench import cores
from tests.bench.contenders import Calmops, Prompts, Wave, prompts
from tests.support.proofs import kit

DRAWS = 1000
AIM = 0.85  # of the engine's tokens per second
CONFIG = """models:
  - name: {name}
    path: {folder}
    tp: 1
    replicas: 1
    kv_blocks: 1024
http:
  port: 18310
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """Says what is sent: how many streams, how often, how long."""

    name: str
    vocabulary: int
    streams: tuple[int, ...]
    pairs: int  # of waves, over HTTP and of the engine alone
    prompt_tokens: int = 64
    answer_tokens: int = 64


@dataclass(slots=True)
class Compared:
    """Holds the waves of one number of streams, in pairs that ran one after the other."""

    http: list[Wave] = field(default_factory=list)
    engine: list[Wave] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Return tokens per second through HTTP divided by the engine's, pair by pair."""
        return kit.pair_ratios([h.tokens_per_s for h in self.http], [e.tokens_per_s for e in self.engine])

    @property
    def ttft_added_ms(self) -> float:
        """Return the median time to first token through HTTP minus the engine's, ms."""
        over_http, alone = ([t for wave in waves for t in wave.ttft_s] for waves in (self.http, self.engine))
        return 1000 * (kit.quantile(over_http, 0.5) - kit.quantile(alone, 0.5))

    def itl_added_ms(self) -> kit.Spread:
        """Return p99 of the time between tokens through HTTP minus the engine's, ms, while all streams decode.

        No prompt interrupts them then. It is computed over all waves together, since a hundredth of one wave is a step
        or less. The interval comes from drawing the pairs again with replacement.
        """
        over_http, alone = ([1000 * np.array(wave.itl_s) for wave in waves] for waves in (self.http, self.engine))

        def added(chosen: Iterable[int]) -> float:
            http_gaps, engine_gaps = (np.concatenate([gaps[pair] for pair in chosen]) for gaps in (over_http, alone))
            return float(np.quantile(http_gaps, 0.99) - np.quantile(engine_gaps, 0.99))

        pairs = range(len(over_http))
        draws = np.random.default_rng(0).choice(pairs, (DRAWS, len(pairs))).tolist()
        values = sorted(added(draw) for draw in draws)
        return kit.Spread(added(pairs), values[int(0.025 * DRAWS)], values[int(0.975 * DRAWS)])

    @property
    def aim(self) -> str:
        """Return "met" or "missed" if the ratio's whole interval is on one side of AIM, else "unknown"."""
        ratio = kit.spread(self.ratios)
        return "met" if ratio.low >= AIM else "missed" if ratio.high < AIM else "unknown"

    def summary(self) -> str:
        """Return the figures as one line."""
        over_http, alone = (kit.quantile([w.tokens_per_s for w in waves], 0.5) for waves in (self.http, self.engine))
        return (
            f"HTTP/engine {kit.spread(self.ratios):.3f} ({over_http:.0f} over {alone:.0f} tok/s, "
            f"{len(self.ratios)} pairs), first token {self.ttft_added_ms:+.1f} ms, p99 between tokens "
            f"{self.itl_added_ms():+.1f} ms"
        )


def compare(
    plan: Plan, release: Path, workspace: Path, pinnings: tuple[bool, ...]
) -> Iterator[tuple[bool, int, Compared]]:
    """Start a separate platform for ``release`` and yield each comparison: (pinned, streams, waves)."""
    config = workspace / f"{plan.name}.yaml"
    config.write_text(CONFIG.format(name=plan.name, folder=release), encoding="utf-8")
    engine = Calmops(release, temperature=1.0)
    with kit.own_platform(config) as url:
        served = Served(url, plan)
        served.wave("warm-up", 2)
        engine.wave(prompts("warm-up", 2, plan.prompt_tokens, plan.vocabulary), plan.answer_tokens)
        for pinned in pinnings:
            served.arrange(pinned=pinned)
            for streams in plan.streams:
                compared = _in_turns(plan, served, engine, (pinned, streams))
                cores.pin_self(cores.ALL)
                yield pinned, streams, compared


def _in_turns(plan: Plan, served: "Served", engine: Calmops, cell: tuple[bool, int]) -> Compared:
    pinned, streams = cell
    compared = Compared()
    for pair, over_http in kit.in_turns((True, False), plan.pairs):
        seed = f"{pinned}/{streams}/{pair}"
        if over_http:
            cores.pin_self(cores.REST if pinned else cores.ALL)
            compared.http.append(served.wave(seed, streams))
        else:
            cores.pin_self(cores.ENGINE if pinned else cores.ALL)
            given = prompts(seed, streams, plan.prompt_tokens, plan.vocabulary)
            compared.engine.append(engine.wave(given, plan.answer_tokens))
    return compared


class Served:
    """Sends waves to a platform over HTTP, and pins its processes."""

    def __init__(self, url: str, plan: Plan) -> None:
        self._url = url
        self._plan = plan

    def arrange(self, *, pinned: bool) -> None:
        """Pin the replica to the engine's core and everything else to the other, or let all run anywhere."""
        replicas = {rank["pid"] for gang in kit.inventory(self._url)["gangs"] for rank in gang["ranks"]}
        everything = cores.platform_pids(os.environ["CALMOPS_HOME"])
        assert replicas <= everything, f"replica {replicas} isn't among the platform's processes"
        cores.pin(everything - replicas, cores.REST if pinned else cores.ALL)
        cores.pin(replicas, cores.ENGINE if pinned else cores.ALL)

    def wave(self, seed: str, streams: int) -> Wave:
        """Run ``streams`` streams at once, to their ends."""
        return asyncio.run(self._wave(prompts(seed, streams, self._plan.prompt_tokens, self._plan.vocabulary)))

    async def _wave(self, given: Prompts) -> Wave:
        tokens = self._plan.answer_tokens
        common = {
            "model": self._plan.name, "max_tokens": tokens, "temperature": 1.0, "ignore_eos": True, "loop_guard": False
        }  # fmt: skip
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
            async with client.get(f"{self._url}/healthz") as answer:
                await answer.read()
            url = f"{self._url}/v1/completions"
            bodies = ({**common, "prompt": ids, "seed": seed, "stream": True} for seed, ids in enumerate(given))
            received = await asyncio.gather(*(receive(client, url, body) for body in bodies))
        streams = [response.stream() for response in received]
        for stream in streams:
            assert stream.complete and stream.tokens == tokens, (
                f"a stream failed: {stream.status} {stream.error} {stream.tokens}"
            )
        began_s = min(stream.started_s for stream in streams)
        ttft_s = tuple(stream.times_s[0] - stream.started_s for stream in streams)
        first_s = max(stream.times_s[0] for stream in streams) - began_s
        itl_s = tuple(b - a for stream in streams for a, b in pairwise(stream.times_s) if a >= began_s + first_s)
        end_s = max(stream.times_s[-1] for stream in streams) - began_s
        return Wave(len(given), tokens, first_s, end_s, ttft_s, itl_s)


@dataclass(slots=True)
class Received:
    """Holds one stream's bytes as they arrived.

    They are parsed when the wave is over, because the client shares a core with what is measured.
    """

    status: int
    started_s: float
    pieces: list[tuple[float, bytes]] = field(default_factory=list)  # monotonic s, at its arrival

    def stream(self) -> kit.Stream:
        """Parse the bytes; each token has the time of the piece that completed its event."""
        stream = kit.Stream(status=self.status, started_s=self.started_s)
        rest = b""
        for time_s, piece in self.pieces:
            *events, rest = (rest + piece).split(b"\n\n")
            for event in events:
                fields = dict(line.split(b": ", 1) for line in event.split(b"\n") if not line.startswith(b":"))
                if fields.get(b"data") == b"[DONE]":
                    stream.done = True
                elif b"data" in fields:
                    kit.note(stream, fields.get(b"id", b"").decode(), json.loads(fields[b"data"]), time_s)
        return stream


async def receive(client: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> Received:
    """Send one request and keep the bytes of its answer."""
    started_s = time.monotonic()
    async with client.post(url, json=body) as response:
        received = Received(response.status, started_s)
        async for piece in response.content.iter_any():
            received.pieces.append((time.monotonic(), piece))
    return received
