"""Kill and stop ranks under 16 streams on the shared platform, and look at what is left of the gang and the streams.

After each fault: does every stream complete, gapless, with the text of an undisturbed run; are the gang's processes
gone, and its shared memory and abstract sockets; does a new gang serve.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.proofs import kit

STREAMS, TOKENS = 16, 800  # so many that on the kernel they outlast the start of a new gang
BODY = {
    "model": "stdlib-5m", "prompt": "def read_lines(path):\n", "max_tokens": TOKENS, "temperature": 0.8,
    "ignore_eos": True, "loop_guard": False,
}  # fmt: skip
SEEDS = tuple(range(1000, 1000 + STREAMS))
Fault = tuple[signal.Signals, int]  # the signal, and the rank that gets it
FAULTS: tuple[Fault, ...] = ((signal.SIGKILL, 1), (signal.SIGKILL, 0), (signal.SIGSTOP, 1), (signal.SIGSTOP, 0))


@dataclass(slots=True)
class Report:
    """Sums up what some faults did."""

    faults: int = 0
    bad: int = 0  # streams that didn't end as undisturbed ones do
    left: int = 0  # abstract sockets of ended gangs
    segments: int = 0  # of shared memory of ended gangs
    undisturbed_s: float = 0.0  # the longest silence in any stream without a fault
    gaps_s: dict[str, list[float]] = field(default_factory=lambda: {"SIGKILL": [], "SIGSTOP": []})

    @property
    def holds(self) -> bool:
        """Say whether nothing was lost and nothing is left."""
        return self.bad == self.left == self.segments == 0

    def summary(self) -> str:
        """Return the figures in one sentence."""
        gaps = ", ".join(summary(name, values) for name, values in self.gaps_s.items() if values)
        return (
            f"{self.faults} faults x {STREAMS} streams: {self.bad} streams not as undisturbed, {self.left} sockets and "
            f"{self.segments} shared-memory segments left; {gaps} "
            f"(longest silence without a fault {self.undisturbed_s:.3f} s)"
        )


def summary(name: str, gaps_s: list[float]) -> str:
    """Return the quantiles of the longest gap of each fault's streams."""
    return f"{name} gap p50 {kit.quantile(gaps_s, 0.5):.3f} s p99 {kit.quantile(gaps_s, 0.99):.3f} s"


async def inflict(rounds: int, chosen: Sequence[Fault] = FAULTS) -> Report:
    """Cause each of the faults once per round, on a gang chosen at random."""
    rng = random.Random(int(os.environ.get("PROOF_SEED", time.time_ns() % 10**6)))
    report = Report(faults=rounds * len(chosen))
    kit.first_in_line()
    with kit.platform() as url:
        async with kit.client() as client:
            expected = await _run_streams(client, url)
            assert all(stream.complete for stream in expected), [stream.error for stream in expected]
            report.undisturbed_s = max(stream.longest_gap_s(0) for stream in expected)
            before = _shared_memory()
            for fault in tuple(chosen) * rounds:
                await _cause(client, url, fault, (expected, report, rng))
        await kit.until("two healthy gangs at the end", lambda: _healthy(url), 120)
        report.segments = len(_shared_memory() - before)
    return report


async def _cause(
    client: httpx.AsyncClient, url: str, fault: Fault, course: tuple[list[kit.Stream], Report, random.Random]
) -> None:
    expected, report, rng = course
    await kit.until("two healthy gangs", lambda: _healthy(url), 120)
    signal_sent, rank = fault
    streams = asyncio.create_task(_run_streams(client, url))
    await asyncio.sleep(rng.uniform(0.3, 1.0))
    view = await asyncio.to_thread(kit.inventory, url)  # off the loop that reads the streams
    gangs = [gang for gang in view["gangs"] if gang["tokens_in_flight"] > 0]
    assert gangs, "no gang had work when the fault was due: the streams are too short"
    gang = rng.choice(gangs)
    pid = next(one["pid"] for one in gang["ranks"] if one["rank"] == rank)
    fault_s = time.monotonic()
    os.kill(pid, signal_sent)
    if signal_sent == signal.SIGSTOP:
        await asyncio.sleep(0.01)
        assert _state(pid) in "TtZX", "the stop did nothing"
    done = await streams
    await kit.until("the gang's processes gone", lambda: all(_state(one["pid"]) in "ZX" for one in gang["ranks"]), 20)
    bad = [
        stream for stream, want in zip(done, expected, strict=True)
        if not stream.complete or stream.text != want.text or stream.digest != want.digest
    ]  # fmt: skip
    gap_s = max(stream.longest_gap_s(fault_s) for stream in done)
    left = _held_by(gang)
    report.bad += len(bad)
    report.left += len(left)
    report.gaps_s[signal_sent.name].append(gap_s)
    print(f"{signal_sent.name} rank {rank}: gap {gap_s:.3f} s, {len(bad)} streams bad, left {left}", flush=True)
    for stream in bad[:3]:
        print(f"  {stream.request_id}: {stream.tokens} tokens, {stream.finish_reason}, {stream.error}", flush=True)


async def _run_streams(client: httpx.AsyncClient, url: str) -> list[kit.Stream]:
    return await asyncio.gather(*(kit.complete_stream(client, url, {**BODY, "seed": seed}) for seed in SEEDS))


def _healthy(url: str) -> bool:
    try:
        gangs = kit.inventory(url)["gangs"]
    except httpx.HTTPError:
        return False
    return len([gang for gang in gangs if gang["linked"] and gang["routable"]]) == 2


def _state(pid: int) -> str:
    """Return the state of a process as /proc has it; X if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _held_by(gang: dict[str, Any]) -> list[str]:
    """Return the abstract sockets that bear the gang's id."""
    lines = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.split()[-1] for line in lines if gang["gang_id"] in line]


def _shared_memory() -> set[str]:
    return {entry.name for entry in Path("/dev/shm").iterdir() if entry.name.startswith("deepspeed_allreduce_buffer")}
