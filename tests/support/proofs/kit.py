"""What the proofs share: the form that was asked for, a platform to prove things on, and a client that counts tokens."""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx

from calmops.foundation import paths

ROOT = Path(__file__).resolve().parents[3]
SHARED_CONFIG = Path(__file__).with_name("platform.yaml")
BUILT = paths.folder("build")  # of whoever runs the proof, before any of them takes a state folder of its own
T = TypeVar("T")


def long_form(what: str) -> bool:
    """Whether --long was given rather than --short."""
    parser = argparse.ArgumentParser(description=what)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--short", action="store_true", help="the quick form (default)")
    form.add_argument("--long", action="store_true", help="the full form")
    return bool(parser.parse_args().long)


def verdict(holds: bool, figure: str) -> None:
    """Print the figure last and exit by it."""
    print(f"{'holds' if holds else 'BROKEN'}: {figure}", flush=True)
    sys.exit(0 if holds else 1)


@contextlib.contextmanager
def platform(config: Path = SHARED_CONFIG) -> Iterator[str]:
    """The address of the shared platform, or of one started for this proof alone and ended with it."""
    shared = os.environ.get("CALMOPS_PROOF_URL")
    if shared and config == SHARED_CONFIG:
        yield shared
        return
    with own_platform(config) as url:
        yield url


class Observed(NamedTuple):
    """The shared platform of kind ``observed``, as run.py has started it."""

    url: str
    kafka: str  # bootstrap servers
    traces_port: int  # where it sends its traces; whoever wants them starts a collector there


def observed() -> Observed:
    """It, for a proof that says `# needs: observed`."""
    named = ("CALMOPS_PROOF_URL", "CALMOPS_PROOF_KAFKA", "CALMOPS_PROOF_TRACES_PORT")
    missing = [name for name in named if name not in os.environ]
    if missing:
        sys.exit(
            f"no {', '.join(missing)}: run this proof by `python tests/proofs/run.py --short {Path(sys.argv[0]).name}`"
        )
    url, kafka, port = (os.environ[name] for name in named)
    return Observed(url, kafka, int(port))


@contextlib.contextmanager
def own_platform(config: Path, *options: str) -> Iterator[str]:
    """A platform of this proof's own: own state folder, own Ray cluster; ended whatever happens. Compiled parts are lent."""
    with tempfile.TemporaryDirectory(prefix="calmops-proof-") as home:
        (Path(home) / "build").symlink_to(BUILT)
        environment = {**os.environ, "CALMOPS_HOME": home}
        calmops = str(Path(sys.executable).with_name("calmops"))
        try:
            started = subprocess.run(
                [calmops, "up", "--config", str(config), "--json", *options],
                env=environment, stdout=subprocess.PIPE, check=True, timeout=400, text=True,
            )  # fmt: skip
            os.environ["CALMOPS_HOME"] = home
            yield str(json.loads(started.stdout.splitlines()[-1])["url"])
        finally:
            subprocess.run([calmops, "down"], env=environment, check=False, timeout=60, stdout=subprocess.DEVNULL)


@dataclass(slots=True)
class Stream:
    """What one client saw of one stream."""

    request_id: str = ""
    seed: str = ""
    text: str = ""
    tokens: int = 0  # from event ids
    digest: str = ""
    finish_reason: str | None = None
    error: dict[str, Any] | None = None
    done: bool = False  # [DONE] came
    status: int = 0
    started_s: float = 0.0
    times_s: list[float] = field(default_factory=list)  # arrival of each token event
    gapless: bool = True

    @property
    def complete(self) -> bool:
        """It ended as a stream should, with every token once."""
        return self.done and self.error is None and self.gapless and self.finish_reason is not None

    def longest_gap_s(self, since_s: float) -> float:
        """The longest silence between two token events, the later of which came after ``since_s`` (monotonic)."""
        return max((b - a for a, b in itertools.pairwise(self.times_s) if b > since_s), default=0.0)


async def events(response: httpx.Response) -> AsyncIterator[tuple[str, str]]:
    """(id, data) of each server-sent event."""
    event_id = ""
    async for line in response.aiter_lines():
        if line.startswith("id: "):
            event_id = line[4:]
        elif line.startswith("data: "):
            yield event_id, line[6:]


async def complete_stream(client: httpx.AsyncClient, url: str, body: dict[str, Any], *, stop_after: int = 0) -> Stream:
    """Run one streamed completion to its end, or until ``stop_after`` tokens were seen and then hang up."""
    seen = Stream(started_s=time.monotonic())
    async with client.stream("POST", f"{url}/v1/completions", json={**body, "stream": True}) as response:
        seen.status = response.status_code
        seen.request_id = response.headers.get("x-request-id", "")
        seen.seed = response.headers.get("x-calmops-seed", "")
        if response.status_code != 200:
            seen.error = json.loads(await response.aread())["error"]
            return seen
        async for event_id, data in events(response):
            if data == "[DONE]":
                seen.done = True
                break
            note(seen, event_id, json.loads(data))
            if stop_after and seen.tokens >= stop_after:
                return seen
    return seen


def note(seen: Stream, event_id: str, chunk: dict[str, Any], time_s: float | None = None) -> None:
    """Count one event of a stream with one choice, which came at ``time_s`` (monotonic; now if None)."""
    if "error" in chunk:
        seen.error = chunk["error"]
        return
    for choice in chunk["choices"]:
        seen.text += choice.get("text") or ""
        seen.finish_reason = choice["finish_reason"] or seen.finish_reason
    if event_id:
        _, index, seen.digest = event_id.split(":")
        if int(index) < seen.tokens or int(index) > seen.tokens + 1:
            seen.gapless = False
        if int(index) > seen.tokens:
            seen.times_s.append(time.monotonic() if time_s is None else time_s)
        seen.tokens = int(index)


def client() -> httpx.AsyncClient:
    """A client that waits as long as a request may last, with room for many streams."""
    return httpx.AsyncClient(timeout=httpx.Timeout(300.0, connect=10.0), limits=httpx.Limits(max_connections=512))


def first_in_line() -> None:
    """Let this thread run before every other of this machine, as a client on a machine of its own would.

    The scheduler shares cores between sessions: on two of them it left this client, runnable, without any for up to 1.4 s
    while a gang loaded, which looked like silence. Children don't inherit it. Without the right to do so, it stays as it is.
    """
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def inventory(url: str) -> dict[str, Any]:
    """The operator API's view."""
    answer: dict[str, Any] = httpx.get(f"{url}/admin/inventory", timeout=10.0, verify=False).json()
    return answer


def quantile(values: list[float], q: float) -> float:
    """The q-quantile, by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("nan")


async def until(what: str, condition: Any, limit_s: float) -> float:
    """Wait for a condition; how long it took, s. AssertionError if it doesn't come."""
    started_s = time.monotonic()
    while time.monotonic() - started_s < limit_s:
        if condition():
            return time.monotonic() - started_s
        await asyncio.sleep(0.05)
    raise AssertionError(f"{what}: not within {limit_s:g} s")


def in_turns(contenders: Sequence[T], pairs: int) -> Iterator[tuple[int, T]]:
    """Whose turn it is, and in which pair: ABBA, so that what drifts on the machine weighs on all alike."""
    for pair in range(pairs):
        for one in reversed(contenders) if pair % 2 else contenders:
            yield pair, one


class Spread(NamedTuple):
    """A median with its 95 % bootstrap interval."""

    median: float
    low: float
    high: float

    def __format__(self, how: str) -> str:
        return f"{self.median:{how}} [{self.low:{how}}, {self.high:{how}}]"


def spread(values: list[float], rounds: int = 2000) -> Spread:
    """The median of values and how well it is known."""
    rng = random.Random(0)
    medians = sorted(quantile(rng.choices(values, k=len(values)), 0.5) for _ in range(rounds))
    return Spread(quantile(values, 0.5), medians[int(0.025 * rounds)], medians[int(0.975 * rounds)])


def pair_ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours over theirs, pair by pair."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]
