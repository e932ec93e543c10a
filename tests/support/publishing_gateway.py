"""Runs a gateway's publisher alone, as a process: frames at a steady rate, requests that open and close.

``python -m tests.support.publishing_gateway ID FOLDER BOOTSTRAP TOPIC STEPS_PER_S SEQUENCES``; SIGTERM ends it orderly.
It writes its figures to FOLDER/../ID.json.
"""

import asyncio
import itertools
import json
import signal
import sys
import time
from pathlib import Path

from calmops.foundation.config_sections import KafkaConfig
from calmops.messages.record import Closed, FrameRecord, Opened, SequenceStep
from calmops.telemetry.log.publisher import SpoolPublisher
from calmops.telemetry.settings import KafkaSettings, TelemetrySettings

ANSWER_TOKENS = 64


class Load:
    """Keeps ``sequences`` requests live at a time, each of ANSWER_TOKENS tokens, one token per step."""

    def __init__(self, publisher: SpoolPublisher, gateway_id: str, sequences: int) -> None:
        self._publisher = publisher
        self._id = gateway_id
        self._numbers = itertools.count(1)
        self._live: dict[str, int] = {}
        self._sequences = sequences
        self._opening: set[asyncio.Task[None]] = set()
        self.open_ms: list[float] = []
        self.publish_us: list[float] = []
        self.frames = 0

    def step(self, step: int) -> None:
        """Publish one frame with a token for each live request; replace requests that end."""
        while len(self._live) + len(self._opening) < self._sequences:
            task = asyncio.get_running_loop().create_task(self._open(f"{self._id}-{next(self._numbers)}"))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        shares = tuple(
            SequenceStep(
                request_id=name, attempt=1, choice=0, index=index, tokens=1, released=1,
                gap_engine_ns=20_000_000 if index else None, gap_gateway_ns=20_000_000 + step % 7 if index else None,
            )
            for name, index in self._live.items()
        )  # fmt: skip
        record = FrameRecord(
            replica_id="r", gang_id=f"gang-{self._id}", shard=0, model="m", step=step, at_ns=time.time_ns(),
            duration_ns=18_000_000, rows=len(shares), decode_rows=len(shares), running=len(shares), sequences=shares,
        )  # fmt: skip
        began_ns = time.perf_counter_ns()
        self._publisher.publish(record)
        self.publish_us.append((time.perf_counter_ns() - began_ns) / 1e3)
        self.frames += 1
        for name in list(self._live):
            self._live[name] += 1
            if self._live[name] == ANSWER_TOKENS:
                self._close(name, "completed")

    async def drain(self) -> None:
        """End every request that is still live."""
        await asyncio.gather(*self._opening)
        for name in list(self._live):
            self._close(name, "failed")

    async def _open(self, name: str) -> None:
        began_s = time.perf_counter()
        await self._publisher.open(
            Opened(
                request_id=name,
                model="m",
                gateway_id=self._id,
                at_ns=time.time_ns(),
                prompt_tokens=9,
                max_tokens=ANSWER_TOKENS,
                choices=1,
                stream=True,
            )  # fmt: skip
        )
        self.open_ms.append((time.perf_counter() - began_s) * 1e3)
        self._live[name] = 0

    def _close(self, name: str, outcome: str) -> None:
        tokens = self._live.pop(name)
        self._publisher.publish(
            Closed(
                request_id=name,
                model="m",
                gateway_id=self._id,
                at_ns=time.time_ns(),
                outcome=outcome,
                attempts=1,
                prompt_tokens=9,
                journaled=tokens,
                delivered=tokens,
                discarded=0,
                ttft_ns=20_000_000,
                duration_ns=tokens * 20_000_000,
            )  # fmt: skip
        )


async def run(publisher: SpoolPublisher, gateway_id: str, steps_per_s: float, sequences: int) -> Load:
    """Publish until SIGTERM; return the load with what it measured."""
    load, stopping = Load(publisher, gateway_id, sequences), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    print("publishing", flush=True)
    began_s = time.monotonic()
    for step in itertools.count(1):
        load.step(step)
        pause_s = began_s + step / steps_per_s - time.monotonic()
        await asyncio.sleep(max(0.0, pause_s))
        if stopping.is_set():
            break
    await load.drain()
    return load


def main() -> None:
    """Publish until SIGTERM, then write the figures to their file."""
    gateway_id, folder, bootstrap, topic, steps_per_s, sequences = sys.argv[1:]
    settings = TelemetrySettings(
        folder=Path(folder),
        lease_s=1.0,
        kafka=KafkaSettings(config=KafkaConfig(bootstrap_servers=bootstrap, topic=topic)),
    )
    publisher = SpoolPublisher(gateway_id, settings)
    publisher.start()
    load = asyncio.run(run(publisher, gateway_id, float(steps_per_s), int(sequences)))
    publisher.close()
    figures = publisher.stats() | {
        "frames": load.frames, "opened": len(load.open_ms), "open_ms": sorted(load.open_ms),
        "publish_us": sorted(load.publish_us),
    }  # fmt: skip
    (Path(folder).parent / f"{gateway_id}.json").write_text(json.dumps(figures), "utf-8")


if __name__ == "__main__":
    main()
