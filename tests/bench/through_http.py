"""What HTTP costs: tokens per second through the whole platform, telemetry on, over those of the engine alone.

Both run the same waves on the same machine in turns (ABBA), so that what else the machine does weighs on both.
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
    """What is sent: which streams, how often, how long."""

    name: str
    vocabulary: int
    streams: tuple[int, ...]
    pairs: int  # of waves, over HTTP and of the engine alone
    prompt_tokens: int = 64
    answer_tokens: int = 64


@dataclass(slots=True)
class Compared:
    """The waves of one number of streams, in pairs that ran one after the other."""

    http: list[Wave] = field(default_factory=list)
    engine: list[Wave] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Tokens per second over HTTP over the engine's, pair by pair."""
        return kit.pair_ratios([h.tokens_per_s for h in self.http], [e.tokens_per_s for e in self.engine])

    @property
    def ttft_added_ms(self) -> float:
        """Median time to first token over HTTP minus the engine's, ms."""
        over_http, alone = ([t for wave in waves for t in wave.ttft_s] for waves in (self.http, self.engine))
        return 1000 * (kit.quantile(over_http, 0.5) - kit.quantile(alone, 0.5))

    def itl_added_ms(self) -> kit.Spread:
        """p99 of the time between tokens over HTTP minus the engine's, ms, while all decode: no prompt comes between.

        Of all waves together, since of one a hundredth is a step or less. How well it is known: with the pairs drawn anew.
        """
        over_http, alone = ([1000 * np.array(wave.itl_s) for wave in waves] for waves in (self.http, self.engine))

        def added(chosen: Iterable[int]) -> float:
            mine, theirs = (np.concatenate([gaps[pair] for pair in chosen]) for gaps in (over_http, alone))
            return float(np.quantile(mine, 0.99) - np.quantile(theirs, 0.99))

        pairs = range(len(over_http))
        drawn = sorted(added(chosen) for chosen in np.random.default_rng(0).choice(pairs, (DRAWS, len(pairs))).tolist())
        return kit.Spread(added(pairs), drawn[int(0.025 * DRAWS)], drawn[int(0.975 * DRAWS)])

    @property
    def aim(self) -> str:
        """ "met" or "missed" if the ratio's whole interval lies on one side of AIM, else "unknown"."""
        ratio = kit.spread(self.ratios)
        return "met" if ratio.low >= AIM else "missed" if ratio.high < AIM else "unknown"

    def summary(self) -> str:
        """One sentence with the figures."""
        over_http, alone = (kit.quantile([w.tokens_per_s for w in waves], 0.5) for waves in (self.http, self.engine))
        return (
            f"HTTP/engine {kit.spread(self.ratios):.3f} ({over_http:.0f} over {alone:.0f} tok/s, "
            f"{len(self.ratios)} pairs), first token {self.ttft_added_ms:+.1f} ms, p99 between tokens "
            f"{self.itl_added_ms():+.1f} ms"
        )


def compare(
    plan: Plan, release: Path, workspace: Path, pinnings: tuple[bool, ...]
) -> Iterator[tuple[bool, int, Compared]]:
    """Start a platform of its own for that release and compare: (pinned, streams, waves), each as it is known."""
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
    """The platform as its clients see it."""

    def __init__(self, url: str, plan: Plan) -> None:
        self._url = url
        self._plan = plan

    def arrange(self, *, pinned: bool) -> None:
        """Put the replica on the engine's core and all else on the other, or let all run anywhere."""
        replicas = {rank["pid"] for gang in kit.inventory(self._url)["gangs"] for rank in gang["ranks"]}
        everything = cores.platform_pids(os.environ["CALMOPS_HOME"])
        assert replicas <= everything, f"replica {replicas} isn't among the platform's processes"
        cores.pin(everything - replicas, cores.REST if pinned else cores.ALL)
        cores.pin(replicas, cores.ENGINE if pinned else cores.ALL)

    def wave(self, seed: str, streams: int) -> Wave:
        """That many streams at once, to their ends."""
        return asyncio.run(self._wave(prompts(seed, streams, self._plan.prompt_tokens, self._plan.vocabulary)))

    async def _wave(self, given: Prompts) -> Wave:
        tokens = self._plan.answer_tokens
        common = {
            "model": self._plan.name, "max_tokens": tokens, "temperature": 1.0, "ignore_eos": True, "loop_guard": False
        }  # fmt: skip
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
            async with client.get(f"{self._url}/healthz") as answer:
                await answer.read()
            heard = await asyncio.gather(
                *(
                    listen(
                        client, f"{self._url}/v1/completions", {**common, "prompt": ids, "seed": number, "stream": True}
                    )
                    for number, ids in enumerate(given)
                )
            )
        seen = [one.stream() for one in heard]
        for stream in seen:
            assert stream.complete and stream.tokens == tokens, (
                f"a stream failed: {stream.status} {stream.error} {stream.tokens}"
            )
        began_s = min(stream.started_s for stream in seen)
        ttft_s = tuple(stream.times_s[0] - stream.started_s for stream in seen)
        first_s = max(stream.times_s[0] for stream in seen) - began_s
        itl_s = tuple(b - a for stream in seen for a, b in pairwise(stream.times_s) if a >= began_s + first_s)
        return Wave(len(given), tokens, first_s, max(stream.times_s[-1] for stream in seen) - began_s, ttft_s, itl_s)


@dataclass(slots=True)
class Heard:
    """One stream's bytes as they came. They are read when the wave is over: the client shares a core with what is measured."""

    status: int
    started_s: float
    pieces: list[tuple[float, bytes]] = field(default_factory=list)  # monotonic s, at its arrival

    def stream(self) -> kit.Stream:
        """What it said, each token at the time of the piece that completed its event."""
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


async def listen(client: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> Heard:
    """Send one request and keep what comes."""
    started_s = time.monotonic()
    async with client.post(url, json=body) as response:
        heard = Heard(response.status, started_s)
        async for piece in response.content.iter_any():
            heard.pieces.append((time.monotonic(), piece))
    return heard
