"""Decides which beams of a search go on, fork or end, over the scheduler's sequences. Pure bookkeeping.

It stands beside the scheduler, after a step's logits; it knows no torch and no text. A search starts as one sequence
(``params.beam_width`` > 0). Whenever ``Work.wanted`` names one of its beams, the engine reports that row's best
log-probabilities, and advances the search after the step:

    scheduler.commit(work, token_ids)                 # ignores a beam's entry
    for beam in (wanted beams of this search):
        search.report(beam, best)                     # search.top_k best (token id, log-probability)
    if search.ready:
        search.advance(scheduler)                     # forks, extends and finishes sequences
    if search.done:
        answers = search.ranked()[: params.n]

A beam that has reported has no token to feed, so the scheduler gives it no rows until ``advance``. So the beams of a
search stay in step although the cache or the row budget may hold some back, and a preempted beam reports again.

Score: sum of log-probabilities / (answer tokens, a stop id included) ** length_penalty. The search ends when
- ``width`` answers are finished and no live beam can still beat the worst of them (a sum can only fall, so the best
  score of a beam is its present sum over the longest answer's length),
- no live beam is left, or
- max_tokens are reached or the context is full: then live beams end with reason "length".
Ties go to the beam that ranked higher, then to the candidate listed first.
"""

from collections.abc import Callable
from collections.abc import Sequence as Ordered
from typing import Protocol

from msgspec import Struct

from calmops.decoding.sequence import Sequence

Candidates = Ordered[tuple[int, float]]  # (token id, natural log-probability <= 0), best first


class Forks(Protocol):
    """Names what a search needs of the scheduler."""

    def fork(self, beam: Sequence, token_id: int) -> Sequence: ...
    def extend(self, beam: Sequence, token_id: int) -> None: ...
    def finish(self, sequence: Sequence, reason: str) -> bool: ...


class Hypothesis(Struct, frozen=True, kw_only=True):
    """Holds a finished answer; ``logprobs[i]`` is the natural log-probability of ``token_ids[i]``."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    score: float
    finish_reason: str  # "stop" or "length"


class BeamSearch:
    """Runs one search. ``ends(ids)`` says whether an answer ends with its last id; by default at stop ids."""

    def __init__(
        self,
        root: Sequence,
        max_model_len: int,
        *,
        length_penalty: float = 1.0,
        ends: Callable[[tuple[int, ...]], bool] | None = None,
    ) -> None:
        self.width = root.params.beam_width
        assert self.width > 0, "a search needs beam_width"
        self.top_k = self.width + max(self.width, len(root.stop_ids))
        self.max_tokens = min(root.params.max_tokens, max_model_len - len(root.prompt_ids))
        self.length_penalty = length_penalty
        stop_ids = root.stop_ids
        self._ends = ends or (lambda ids: ids[-1] in stop_ids)
        self._live: dict[Sequence, tuple[float, ...]] = {root: ()}  # best first, with their log-probabilities
        self._reports: dict[Sequence, Candidates] = {}
        self._finished: list[Hypothesis] = []

    @property
    def ready(self) -> bool:
        """Return whether every live beam has reported, so that ``advance`` may be called."""
        return bool(self._live) and len(self._reports) == len(self._live)

    @property
    def done(self) -> bool:
        """Return whether no live beam is left."""
        return not self._live

    def ranked(self) -> list[Hypothesis]:
        """Return the finished answers, best first, at most ``width`` of them."""
        return list(self._finished)

    def report(self, beam: Sequence, best: Candidates) -> None:
        """Take a live beam's ``top_k`` best next tokens; fewer only if the vocabulary is smaller."""
        assert beam in self._live, f"{beam.key} isn't a live beam of this search"
        self._reports[beam] = best

    def advance(self, scheduler: Forks) -> None:
        """Turn the reports into the next beams: prune, fork and extend them through the scheduler."""
        assert self.ready, f"{len(self._reports)} of {len(self._live)} beams have reported"
        survivors = self._choose_survivors()
        self._reports = {}
        worst = self._finished[-1].score if len(self._finished) == self.width else None
        if worst is not None and survivors and self._attainable(survivors[0]) <= worst:
            survivors = []
        if survivors and len(survivors[0][2]) >= self.max_tokens:
            for beam, token_id, logprobs in survivors:
                self._keep((*beam.output_ids, token_id), logprobs, "length")
            survivors = []
        self._continue(survivors, scheduler)

    def _choose_survivors(self) -> list[tuple[Sequence, int, tuple[float, ...]]]:
        """Return the ``width`` best candidates that go on; keep as answers those of the ``width`` best that end."""
        ranked = [
            (-sum(logprobs) - logprob, rank, order, beam, token_id, (*logprobs, logprob))
            for rank, (beam, logprobs) in enumerate(self._live.items())
            for order, (token_id, logprob) in enumerate(self._reports[beam])
        ]
        ranked.sort(key=lambda candidate: candidate[:3])
        survivors: list[tuple[Sequence, int, tuple[float, ...]]] = []
        for place, (_, _, _, beam, token_id, logprobs) in enumerate(ranked):
            if len(survivors) == self.width:
                break
            ids = (*beam.output_ids, token_id)
            if not self._ends(ids):
                survivors.append((beam, token_id, logprobs))
            elif place < self.width:
                self._keep(ids, logprobs, "stop")
        return survivors

    def _keep(self, ids: tuple[int, ...], logprobs: tuple[float, ...], reason: str) -> None:
        score = sum(logprobs) / len(ids) ** self.length_penalty
        answer = Hypothesis(token_ids=ids, logprobs=logprobs, score=score, finish_reason=reason)
        self._finished = sorted([*self._finished, answer], key=lambda hypothesis: -hypothesis.score)[: self.width]

    def _attainable(self, candidate: tuple[Sequence, int, tuple[float, ...]]) -> float:
        """Return the best score that the candidate could still end with."""
        total = sum(candidate[2])
        longest = self.max_tokens if self.length_penalty > 0 else len(candidate[2])
        return float(total / longest**self.length_penalty)

    def _continue(self, survivors: list[tuple[Sequence, int, tuple[float, ...]]], scheduler: Forks) -> None:
        kept = {beam for beam, _, _ in survivors}
        reason = "pruned" if survivors else self._finished[0].finish_reason
        for beam in self._live:
            if beam not in kept:
                scheduler.finish(beam, reason)
        # Fork before extending: a fork copies its parent as it was when it reported.
        continued = [
            (beam, token_id, logprobs, beam in {earlier for earlier, _, _ in survivors[:at]})
            for at, (beam, token_id, logprobs) in enumerate(survivors)
        ]
        forks = {at: scheduler.fork(beam, token) for at, (beam, token, _, repeated) in enumerate(continued) if repeated}
        self._live = {}
        for at, (beam, token_id, logprobs, repeated) in enumerate(continued):
            if not repeated:
                scheduler.extend(beam, token_id)
            self._live[forks[at] if repeated else beam] = logprobs
