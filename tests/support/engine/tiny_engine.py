"""Runs placements to their end in an engine of its own; the engine's tests and proofs share it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calmops.engine.engine import Engine
from calmops.messages.frame import Delta, TokenLogprobs
from calmops.messages.placement import Placement, ResumedChoice, Summary
from calmops.messages.plan import StepPlan
from calmops.messages.request import SamplingParams
from tests.support.engine.engine_driver import stream_token
from tests.support.engine.engine_settings import engine_settings


@dataclass(slots=True)
class Answer:
    """Collects one choice from its deltas."""

    ids: list[int] = field(default_factory=list)
    text: str = ""
    released: int = 0
    finish_reason: str | None = None
    stop_match: str | None = None
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    recomputed: int = 0
    cached: int = 0
    first_index: int | None = None


SendPlan = Callable[[StepPlan], None]


class Run:
    """Holds an engine and all that it has answered."""

    def __init__(self, folder: Path, *, send_plan: SendPlan = lambda _plan: None, **settings: Any) -> None:
        self._begin(Engine.load(engine_settings(folder=folder, **settings), send_plan))

    def with_bounds(self, **bounds: Any) -> "Run":
        """Return a run with tighter bounds over the weights that this one has loaded."""
        fresh = object.__new__(Run)
        fresh._begin(self.engine.with_bounds(**bounds))
        return fresh

    def _begin(self, engine: Engine) -> None:
        self.engine = engine
        self.answers: dict[tuple[str, int], Answer] = {}
        self.summaries: dict[int, Summary] = {}  # by stream token
        self.kv_blocks_used = 0
        self.preempted = 0

    def step(self) -> bool:
        """Run one step; return False if there was nothing to do."""
        result = self.engine.step()
        if result is None:
            return False
        self.kv_blocks_used = result.facts.kv_blocks_used
        self.preempted += result.facts.preempted
        for deltas in result.deltas.values():
            for delta in deltas:
                self._take(delta)
        self.summaries.update({summary.stream_token: summary for summary in result.summaries})
        return True

    def finish(self, placements: Iterable[Placement] = ()) -> dict[tuple[str, int], Answer]:
        """Submit the placements, then step until nothing is left to do."""
        for placement in placements:
            self.engine.submit(placement)
        for _ in range(20_000):
            if not self.step():
                return self.answers
        raise AssertionError("the engine doesn't come to an end")

    def _take(self, delta: Delta) -> None:
        answer = self.answers.setdefault((delta.request_id, delta.choice), Answer())
        if delta.token_ids:
            expected = len(answer.ids) + (answer.first_index if answer.first_index is not None else delta.index)
            assert delta.index == expected, f"{delta.request_id}: index {delta.index}, expected {expected}"
            if answer.first_index is None:
                answer.first_index = delta.index
        assert delta.released >= answer.released, "released text was taken back"
        assert answer.finish_reason is None, "a delta after the end"
        answer.ids += delta.token_ids
        answer.text += delta.text
        answer.released = delta.released
        answer.finish_reason, answer.stop_match = delta.finish_reason, delta.stop_match
        answer.logprobs += delta.logprobs or ()
        answer.recomputed += delta.recomputed
        answer.cached += delta.cached


def placement(
    request_id: str, prompt_ids: Iterable[int], *, attempt: int = 1, resumed: Any = (), **params: Any
) -> Placement:
    """Return a placement; ``resumed``: (choice, ids) pairs."""
    fields = {"max_tokens": 16, "temperature": 0.0, "loop_guard": False, **params}
    return Placement(
        request_id=request_id,
        model="m",
        attempt=attempt,
        gateway_id="g",
        stream_token=stream_token(request_id, attempt),
        prompt_ids=tuple(prompt_ids),
        params=SamplingParams(**fields),
        deadline_ns=0,
        resumed=tuple(ResumedChoice(choice=choice, token_ids=tuple(ids)) for choice, ids in resumed),
    )
