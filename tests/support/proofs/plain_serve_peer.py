"""Serve the same engine by plain Ray Serve streaming, under the same faults: the peer of the failover proof.

Two replicas, tp 1 (plain Serve knows no gang: with tp 2 a lost rank would leave rank 0 spinning for ever), with Serve's
own proxy and health checks as they come. A client whose stream breaks starts again with the same seed at once; its gap
is the longest time without a token that it had not seen. A stream that is still silent after 120 s counts as 120 s.
``python -m tests.support.proofs.plain_serve_peer ROUNDS SIGKILL SIGSTOP`` prints, last,
{"SIGKILL": [gap_s, ...], "SIGSTOP": [...]}.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

os.environ["RAY_AUTH_MODE"] = "disabled"  # before Ray is imported: else it leaves a token of its own in the home folder
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import StreamingResponse

import calmops
from calmops.engine.engine import Engine
from calmops.foundation.ports import free_port
from calmops.messages.placement import Placement
from calmops.messages.request import SamplingParams
from tests.support.engine.engine_settings import engine_settings
from tests.support.proofs import kit
from tests.support.proofs.failover_faults import STREAMS, TOKENS

CAP_S = 120.0
RELEASE = Path(calmops.__file__).parent / "models" / "stdlib-5m"


class Plain:
    """Runs an engine on a thread of its own and sends each token as one line of the response."""

    def __init__(self) -> None:
        settings = engine_settings(folder=RELEASE, tp=1, dtype="bfloat16", kv_blocks=1024, max_sequences=32)
        self._engine = Engine.load(settings, lambda _: None)
        self._queues: dict[str, asyncio.Queue[tuple[int, int]]] = {}
        self._new: list[Placement] = []
        self._number = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        threading.Thread(target=self._steps, daemon=True).start()

    async def __call__(self, request: Request) -> StreamingResponse:
        self._loop = asyncio.get_running_loop()
        self._number += 1
        name = f"r{self._number}"
        self._queues[name] = asyncio.Queue()
        params = SamplingParams(
            max_tokens=TOKENS, temperature=0.8, seed=int(request.query_params["seed"]), loop_guard=False
        )
        self._new.append(
            Placement(
                request_id=name,
                model="plain",
                attempt=1,
                gateway_id="g",
                stream_token=self._number,
                prompt_ids=(5, 6, 7, 8),
                params=params,
                deadline_ns=time.time_ns() + 300 * 10**9,
            )  # fmt: skip
        )
        return StreamingResponse(self._lines(name), media_type="text/plain")

    async def _lines(self, name: str) -> AsyncIterator[str]:
        sent = 0
        while sent < TOKENS:
            index, token = await self._queues[name].get()
            sent = index + 1
            yield f"{os.getpid()} {index} {token}\n"
        del self._queues[name]

    def _steps(self) -> None:
        while True:
            while self._new:
                self._engine.submit(self._new.pop())
            result = self._engine.step()
            if result is None:
                time.sleep(0.001)  # idle: nothing to step
                continue
            for delta in result.deltas.get("g", ()):
                for offset, token in enumerate(delta.token_ids):
                    assert self._loop is not None
                    self._loop.call_soon_threadsafe(
                        self._queues[delta.request_id].put_nowait, (delta.index + offset, token)
                    )


class Client:
    """Reads one stream, and starts it again as often as it breaks."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.pid = 0
        self.seen = 0
        self.times_s: list[float] = []

    @property
    def under_way(self) -> bool:
        """Say whether it has seen some tokens and waits for more."""
        return 0 < self.seen < TOKENS

    async def run(self, http: httpx.AsyncClient, url: str) -> None:
        while self.seen < TOKENS:
            try:
                async with http.stream("GET", url, params={"seed": self.seed}) as answer:
                    async for line in answer.aiter_lines():
                        pid, index, _ = map(int, line.split())
                        self.pid = pid
                        if index == self.seen:
                            self.seen += 1
                            self.times_s.append(time.monotonic())
            except (httpx.HTTPError, ValueError):
                await asyncio.sleep(0.05)

    def gap_s(self, fault_s: float) -> float:
        """Return the longest silence, s; CAP_S for a stream that never went on."""
        if self.seen < TOKENS:
            return CAP_S
        return min(
            CAP_S,
            max([b - a for a, b in zip(self.times_s, self.times_s[1:], strict=False)] + [self.times_s[0] - fault_s]),
        )


async def fault(url: str, signal_sent: signal.Signals, rng: random.Random) -> float:
    """Cause one fault under streams and return the longest gap of any of them, s."""
    async with httpx.AsyncClient(timeout=httpx.Timeout(CAP_S + 30), limits=httpx.Limits(max_connections=64)) as http:
        await two_replicas(http, url)
        clients = [Client(seed) for seed in range(STREAMS)]
        tasks = [asyncio.create_task(client.run(http, url)) for client in clients]
        await asyncio.sleep(rng.uniform(0.3, 1.0))
        await kit.until("a stream under way", lambda: any(client.under_way for client in clients), 60)
        pid = rng.choice([client.pid for client in clients if client.under_way])
        fault_s = time.monotonic()
        os.kill(pid, signal_sent)
        await asyncio.wait(tasks, timeout=CAP_S)
        for task in tasks:
            task.cancel()
        if signal_sent == signal.SIGSTOP:  # Serve may not have ended it
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        gap_s = max(client.gap_s(fault_s) for client in clients)
    print(f"plain Serve, {signal_sent.name}: longest gap {gap_s:.2f} s", flush=True)
    return gap_s


async def two_replicas(http: httpx.AsyncClient, url: str) -> None:
    """Wait until both replicas serve."""
    until_s = time.monotonic() + 240
    while True:
        probes: list[Any] = [Client(seed) for seed in range(8)]
        try:
            await asyncio.wait_for(asyncio.gather(*(probe.run(http, url) for probe in probes)), 60)
        except TimeoutError:
            continue
        finally:
            assert time.monotonic() < until_s, "plain Serve has no two replicas after 240 s"
        if len({probe.pid for probe in probes}) == 2:
            return
        await asyncio.sleep(1)


def main() -> None:
    rounds, kinds, port = int(sys.argv[1]), [signal.Signals[name] for name in sys.argv[2:]], free_port()
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    deployment = serve.deployment(Plain).options(
        num_replicas=2, max_ongoing_requests=64, ray_actor_options={"num_cpus": 1}
    )
    serve.run(deployment.bind(), name="plain")
    kit.first_in_line()
    rng = random.Random(0)
    gaps: dict[str, list[float]] = {kind.name: [] for kind in kinds}
    try:
        for _ in range(rounds):
            for kind in kinds:
                gaps[kind.name].append(asyncio.run(fault(f"http://127.0.0.1:{port}/", kind, rng)))
    finally:
        serve.shutdown()
        ray.shutdown()
    print(json.dumps(gaps))


if __name__ == "__main__":
    main()
