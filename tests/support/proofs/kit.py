"""Give every proof its form, a platform to prove things on, a client that counts tokens, and statistics."""

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
from typing import Any, NamedTuple, NoReturn, TypeVar

import httpx

from calmops.foundation import paths

ROOT = Path(__file__).resolve().parents[3]
SHARED_CONFIG = Path(__file__).with_name("platform.yaml")
BUILT = paths.folder("build")  # of the person who runs the proof: a proof may take a state folder of its own later
T = TypeVar("T")


def long_form(what: str) -> bool:
    """Say whether --long was given rather than --short. ``what``: shown by --help."""
    parser = argparse.ArgumentParser(description=what)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--short", action="store_true", help="the quick form (default)")
    form.add_argument("--long", action="store_true", help="the full form")
    return bool(parser.parse_args().long)


def verdict(holds: bool, figure: str) -> NoReturn:
    """Print the figure last and exit: 0 if the claim holds, else 1."""
    print(f"{'holds' if holds else 'BROKEN'}: {figure}", flush=True)
    sys.exit(0 if holds else 1)


@contextlib.contextmanager
def platform(config: Path = SHARED_CONFIG) -> Iterator[str]:
    """Yield the address of the shared platform, or of one started for this proof alone and ended with it."""
    shared = os.environ.get("CALMOPS_PROOF_URL")
    if shared and config == SHARED_CONFIG:
        yield shared
        return
    with own_platform(config) as url:
        yield url


class Observed(NamedTuple):
    """Says where the shared platform of kind ``observed`` is, which run.py has started."""

    url: str
    kafka: str  # bootstrap servers
    traces_port: int  # where it sends its traces; a proof that wants them starts a collector there


def observed() -> Observed:
    """Return where it is, for a proof that declares `# needs: observed`."""
    variables = ("CALMOPS_PROOF_URL", "CALMOPS_PROOF_KAFKA", "CALMOPS_PROOF_TRACES_PORT")
    missing = [name for name in variables if name not in os.environ]
    if missing:
        proof = "/".join(Path(sys.argv[0]).parts[-2:])
        sys.exit(f"no {', '.join(missing)}: run this proof by `python tests/proofs/run.py --short {proof}`")
    url, kafka, port = (os.environ[name] for name in variables)
    return Observed(url, kafka, int(port))


@contextlib.contextmanager
def own_platform(config: Path, *options: str) -> Iterator[str]:
    """Yield the address of a platform with a state folder and a Ray cluster of its own; it is ended whatever happens.

    What is compiled already is lent to it. CALMOPS_HOME is its state folder from then on.
    """
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
    """Holds what one client saw of one stream."""

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
        """Say whether it ended as a stream should, with every token once."""
        return self.done and self.error is None and self.gapless and self.finish_reason is not None

    def longest_gap_s(self, since_s: float) -> float:
        """Return the longest silence, s, between two token events, the later of them after ``since_s`` (monotonic)."""
        return max((b - a for a, b in itertools.pairwise(self.times_s) if b > since_s), default=0.0)


async def events(response: httpx.Response) -> AsyncIterator[tuple[str, str]]:
    """Yield the id and the data of each server-sent event."""
    event_id = ""
    async for line in response.aiter_lines():
        if line.startswith("id: "):
            event_id = line[4:]
        elif line.startswith("data: "):
            yield event_id, line[6:]


async def complete_stream(client: httpx.AsyncClient, url: str, body: dict[str, Any], *, stop_after: int = 0) -> Stream:
    """Run one streamed completion to its end, or hang up once ``stop_after`` tokens were seen."""
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
    """Count one event of a stream with one choice; it came at ``time_s`` (monotonic; now if None)."""
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
    """Return a client that waits as long as a request may last and has room for many streams."""
    return httpx.AsyncClient(timeout=httpx.Timeout(300.0, connect=10.0), limits=httpx.Limits(max_connections=512))


def first_in_line() -> None:
    """Let this thread run before every other one of this machine, as a client on a machine of its own would.

    The scheduler shares cores between sessions: on two cores it left this client, although runnable, without any for up
    to 1.4 s while a gang loaded, which looked like silence. Children don't inherit the priority. Without the right to
    set it, nothing changes.
    """
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def inventory(url: str) -> dict[str, Any]:
    """Return what the operator API says of gangs and gateways."""
    answer: dict[str, Any] = httpx.get(f"{url}/admin/inventory", timeout=10.0, verify=False).json()
    return answer


def quantile(values: list[float], q: float) -> float:
    """Return the q-quantile by the nearest rank; NaN of no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("nan")


async def until(what: str, condition: Any, limit_s: float) -> float:
    """Wait for a condition and return how long it took, s. AssertionError if it isn't true within ``limit_s``."""
    started_s = time.monotonic()
    while time.monotonic() - started_s < limit_s:
        if condition():
            return time.monotonic() - started_s
        await asyncio.sleep(0.05)
    raise AssertionError(f"{what}: not within {limit_s:g} s")


def in_turns(contenders: Sequence[T], pairs: int) -> Iterator[tuple[int, T]]:
    """Yield each pair's number and whose turn it is: ABBA, so that what drifts on the machine weighs on all alike."""
    for pair in range(pairs):
        for contender in reversed(contenders) if pair % 2 else contenders:
            yield pair, contender


class Spread(NamedTuple):
    """Holds a median and its 95 % bootstrap interval."""

    median: float
    low: float
    high: float

    def __format__(self, how: str) -> str:
        return f"{self.median:{how}} [{self.low:{how}}, {self.high:{how}}]"


def spread(values: list[float], rounds: int = 2000) -> Spread:
    """Return the median of values and how well it is known."""
    rng = random.Random(0)
    medians = sorted(quantile(rng.choices(values, k=len(values)), 0.5) for _ in range(rounds))
    return Spread(quantile(values, 0.5), medians[int(0.025 * rounds)], medians[int(0.975 * rounds)])


def pair_ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return ours over theirs, pair by pair."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]
