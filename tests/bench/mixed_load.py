"""Drives engines with a server's workload: prompts of 16 to 512 tokens, answers of 8 to 256, at once or over time.

One loop drives both engines: jobs are admitted when they are due, and every step returns the jobs that got a token.
"""

import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from calmops.engine.engine import Engine
from calmops.messages.placement import Placement
from calmops.messages.request import SamplingParams
from tests.bench.contenders import LlamaCpp
from tests.support.engine.engine_settings import engine_settings

SLOTS = 16  # sequences that llama.cpp decodes together, refilled each step
STEP_ROWS = 512
CONTEXT_TOKENS = 1024
IDLE_S = 0.0005


class Job(NamedTuple):
    """Describes one request, due ``at_s`` seconds after the start."""

    prompt: list[int]
    tokens: int
    at_s: float


@dataclass(slots=True)
class Report:
    """Holds the times of a run, in seconds."""

    end_s: float = 0.0
    tokens: int = 0
    ttft_s: list[float] = field(default_factory=list)  # from when the job was due
    itl_s: list[float] = field(default_factory=list)

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.end_s


class Server(Protocol):
    """Takes jobs while it runs."""

    def admit(self, number: int, job: Job) -> None:
        """Take a job; it may wait inside the engine."""
        ...

    def step(self) -> list[int]:
        """Run one forward pass; return the numbers of the jobs that got a token."""
        ...


def jobs(seed: str, count: int, vocabulary: int, rate: float | None = None) -> list[Job]:
    """Return ``count`` jobs, all due at once, or as a Poisson process with ``rate`` jobs per second."""
    rng = random.Random(seed)
    at_s, drawn = 0.0, []
    for _ in range(count):
        at_s += rng.expovariate(rate) if rate else 0.0
        prompt = [rng.randrange(16, vocabulary) for _ in range(rng.randint(16, 512))]
        drawn.append(Job(prompt, rng.randint(8, 256), at_s))
    return drawn


def drive(server: Server, given: Sequence[Job]) -> Report:
    """Run all jobs to their ends and report their times."""
    due = deque(enumerate(given))
    times: list[list[float]] = [[] for _ in given]
    left = sum(job.tokens for job in given)
    report = Report(tokens=left)
    began_s = time.perf_counter()
    running = 0
    while left:
        now_s = time.perf_counter() - began_s
        while due and due[0][1].at_s <= now_s:
            number, job = due.popleft()
            server.admit(number, job)
            running += 1
        if not running:
            time.sleep(IDLE_S)
            continue
        for number in server.step():
            times[number].append(time.perf_counter() - began_s)
            left -= 1
            running -= len(times[number]) == given[number].tokens
    report.end_s = time.perf_counter() - began_s
    for job, seen in zip(given, times, strict=True):
        assert len(seen) == job.tokens, f"{len(seen)} tokens of {job.tokens}"
        report.ttft_s.append(seen[0] - job.at_s)
        report.itl_s += [b - a for a, b in pairwise(seen)]
    return report


class CalmopsServer:
    """Runs calmops' engine alone, in one process of ``threads`` threads."""

    def __init__(self, release: Path, threads: int) -> None:
        settings = engine_settings(
            folder=release, dtype="bfloat16", kv_blocks=2048, max_sequences=32, max_rows_per_step=256, threads=threads
        )
        self._engine = Engine.load(settings, lambda _: None)
        self._run = 0
        self._numbers: dict[str, int] = {}

    def admit(self, number: int, job: Job) -> None:
        self._run += 1
        name = f"mixed-{self._run}"
        self._numbers[name] = number
        params = SamplingParams(max_tokens=job.tokens, temperature=0.0, loop_guard=False)
        self._engine.submit(
            Placement(
                request_id=name,
                model="bench",
                attempt=1,
                gateway_id="bench",
                stream_token=self._run,
                prompt_ids=tuple(job.prompt),
                params=params,
                deadline_ns=time.time_ns() + 3600 * 10**9,
            )  # fmt: skip
        )

    def step(self) -> list[int]:
        result = self._engine.step()
        assert result is not None, "nothing to do, with jobs running"
        deltas = [delta for gateway_deltas in result.deltas.values() for delta in gateway_deltas]
        return [self._numbers[delta.request_id] for delta in deltas for _ in delta.token_ids]


class _Slot:
    def __init__(self, number: int, job: Job) -> None:
        self.number = number
        self.ids = list(job.prompt)
        self.done = 0  # tokens that are in llama.cpp's cache
        self.left = job.tokens

    @property
    def rows_left(self) -> int:
        """Return the number of tokens that are not in llama.cpp's cache yet."""
        return len(self.ids) - self.done


class LlamaCppServer(LlamaCpp):
    """Runs llama.cpp's low-level batches: decoding jobs first, then as much of the prompts as a step holds."""

    def __init__(self, model: Path, threads: int, **options: Any) -> None:
        super().__init__(model, threads, **options)
        self._slots: list[_Slot | None] = [None] * SLOTS
        self._waiting: deque[_Slot] = deque()
        self._running = self._context(SLOTS, CONTEXT_TOKENS)
        self._batch = self._c.llama_batch_init(STEP_ROWS, 0, 1)

    def admit(self, number: int, job: Job) -> None:
        self._waiting.append(_Slot(number, job))

    def step(self) -> list[int]:
        for index, slot in enumerate(self._slots):
            if slot is None and self._waiting:
                self._slots[index] = self._waiting.popleft()
        rows: list[tuple[int, int, int, bool]] = []
        sampled: list[tuple[int, _Slot]] = []
        for index, slot in sorted(enumerate(self._slots), key=lambda one: one[1].rows_left if one[1] else 0):
            if slot is None:
                continue
            end = slot.done + min(slot.rows_left, STEP_ROWS - len(rows))
            is_last = end == len(slot.ids)
            rows += [(slot.ids[i], i, index, is_last and i == end - 1) for i in range(slot.done, end)]
            slot.done = end
            sampled += [(index, slot)] if is_last else []
        tokens = self._step(self._running, self._batch, rows)
        for token, (index, slot) in zip(tokens, sampled, strict=True):
            slot.ids.append(token)
            slot.left -= 1
            if not slot.left:
                self._slots[index] = None
                self._c.llama_memory_seq_rm(self._c.llama_get_memory(self._running), index, -1, -1)
        return [slot.number for _, slot in sampled]
