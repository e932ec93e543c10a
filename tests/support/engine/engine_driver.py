"""Drives an engine by hand: placements in, steps, and each choice's answer put together from its deltas."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calmops.engine.engine import Engine
from calmops.messages.frame import Delta, StepFacts
from calmops.messages.placement import Placement, ResumedChoice, Summary
from calmops.messages.plan import StepPlan
from calmops.messages.request import SamplingParams
from tests.support.engine.engine_settings import engine_settings

GATEWAY = "gateway-1"
MOST_STEPS = 20_000


@dataclass(slots=True)
class Answer:
    """Collects one choice as its gateway sees it, and checks it for gaps as it grows."""

    first: int | None = None  # answer index of the first token seen
    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    released: list[int] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)
    finish_reason: str | None = None
    stop_match: str | None = None
    prefilled: int = 0
    recomputed: int = 0
    cached: int = 0

    def take(self, delta: Delta) -> None:
        """Add one delta."""
        assert self.finish_reason is None, "a delta came after the choice's last"
        if delta.token_ids:
            if self.first is None:
                self.first = delta.index
            assert delta.index == self.first + len(self.token_ids), "a token is missing or came twice"
        self.token_ids += delta.token_ids
        self.text += delta.text
        self.released.append(delta.released)
        self.logprobs += delta.logprobs or ()
        self.finish_reason, self.stop_match = delta.finish_reason, delta.stop_match
        self.prefilled += delta.prefilled
        self.recomputed += delta.recomputed
        self.cached += delta.cached


@dataclass(slots=True)
class Driver:
    """Holds an engine with all that it has answered so far."""

    engine: Engine
    plans: list[StepPlan]
    answers: dict[tuple[str, int], Answer] = field(default_factory=dict)  # by (request id, choice)
    summaries: dict[int, Summary] = field(default_factory=dict)  # by stream token
    facts: list[StepFacts] = field(default_factory=list)

    def submit(self, placement: Placement) -> None:
        self.engine.submit(placement)

    def step(self) -> bool:
        """Run one step; return False if there was nothing to do."""
        result = self.engine.step()
        if result is None:
            return False
        self.facts.append(result.facts)
        for delta in (one for mine in result.deltas.values() for one in mine):
            self.answers.setdefault((delta.request_id, delta.choice), Answer()).take(delta)
        for summary in result.summaries:
            assert summary.stream_token not in self.summaries, "an attempt ended twice"
            self.summaries[summary.stream_token] = summary
        return True

    def finish(self) -> "Driver":
        """Step until nothing is left to do."""
        for _ in range(MOST_STEPS):
            if not self.step():
                return self
        raise AssertionError(f"still running after {MOST_STEPS} steps")

    def answer(self, request_id: str, choice: int = 0) -> Answer:
        return self.answers[request_id, choice]

    def summary(self, request_id: str, attempt: int = 1) -> Summary:
        return self.summaries[stream_token(request_id, attempt)]

    @property
    def preempted(self) -> int:
        return sum(facts.preempted for facts in self.facts)


def drive(folder: Path, send: Callable[[StepPlan], None] | None = None, **settings: Any) -> Driver:
    """Return a driver over a fresh engine for the checkpoint in ``folder``."""
    plans: list[StepPlan] = []

    def keep(plan: StepPlan) -> None:
        plans.append(plan)
        if send is not None:
            send(plan)

    return Driver(Engine.load(engine_settings(folder=folder, **settings), keep), plans)


def stream_token(request_id: str, attempt: int = 1) -> int:
    """Return an attempt's stream token, made from its names, which are all different here."""
    return zlib.crc32(f"{request_id}/{attempt}".encode())


def place(
    request_id: str,
    prompt_ids: Sequence[int],
    *,
    resumed: Sequence[ResumedChoice] = (),
    attempt: int = 1,
    **params: Any,
) -> Placement:
    """Return a placement with ``params``; 16 tokens, seed 7 and no end token unless they say so."""
    return Placement(
        request_id=request_id,
        model="tiny",
        attempt=attempt,
        gateway_id=GATEWAY,
        stream_token=stream_token(request_id, attempt),
        prompt_ids=tuple(prompt_ids),
        params=SamplingParams(**({"max_tokens": 16, "seed": 7} | params)),
        deadline_ns=0,
        resumed=tuple(resumed),
    )
