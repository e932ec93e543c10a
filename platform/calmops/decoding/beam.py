"""Beam search over the scheduler's sequences: which beams go on, fork, end. Pure bookkeeping.

A search starts as one sequence (``params.beam_width`` > 0). Each time one of its beams comes up in
``Work.wanted``, the runner hands over that row's best log-probabilities, and after the step asks:

    scheduler.commit(work, token_ids)                 # a beam's entry is ignored
    for beam in (wanted beams of this search):
        search.report(beam, best)                     # search.top_k best (token id, log-probability)
    if search.ready:
        search.advance(scheduler)                     # forks, extends and finishes sequences
    if search.done:
        answers = search.ranked()[: params.n]

A beam that has reported has nothing to feed, so the scheduler gives it no rows until ``advance``:
the beams of a search keep in step although the cache or the row budget may hold some back, and a
beam that was preempted simply reports again.

Score: sum of log-probabilities / (answer tokens, a stop id included) ** length_penalty. The search
ends when ``width`` answers are finished and no live beam can still beat the worst of them (the sum
can only fall, so its best is the present sum over the longest answer's length), when no live beam
is left, or at max_tokens or a full context, where live beams end with reason "length".
Ties go to the beam that ranked higher, then to the candidate listed first.
"""

from collections.abc import Callable
from collections.abc import Sequence as Ordered
from typing import Protocol

from msgspec import Struct

from calmops.decoding.sequence import Sequence

Candidates = Ordered[tuple[int, float]]  # (token id, natural log-probability <= 0), best first


class Forks(Protocol):
    """What a search needs of the scheduler."""

    def fork(self, beam: Sequence, token_id: int) -> Sequence: ...
    def extend(self, beam: Sequence, token_id: int) -> None: ...
    def finish(self, sequence: Sequence, reason: str) -> bool: ...


class Hypothesis(Struct, frozen=True, kw_only=True):
    """A finished answer; ``logprobs[i]`` belongs to ``token_ids[i]``, natural logarithm."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    score: float
    finish_reason: str  # "stop" or "length"


class BeamSearch:
    """One search. ``ends(ids)`` tells whether an answer ends with its last id; by default at stop ids."""

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
        self._live: dict[Sequence, tuple[float, ...]] = {root: ()}  # best first; their log-probabilities
        self._reports: dict[Sequence, Candidates] = {}
        self._finished: list[Hypothesis] = []

    @property
    def ready(self) -> bool:
        """Every live beam has reported: ``advance`` may go on."""
        return bool(self._live) and len(self._reports) == len(self._live)

    @property
    def done(self) -> bool:
        """No beam lives any more."""
        return not self._live

    def ranked(self) -> list[Hypothesis]:
        """The finished answers, best first, at most ``width``."""
        return list(self._finished)

    def report(self, beam: Sequence, best: Candidates) -> None:
        """A live beam's next-token candidates: the ``top_k`` best, fewer only if the vocabulary is smaller."""
        assert beam in self._live, f"{beam.key} isn't a live beam of this search"
        self._reports[beam] = best

    def advance(self, scheduler: Forks) -> None:
        """Make the next beams of the reports: prune, fork and extend through the scheduler."""
        assert self.ready, f"{len(self._reports)} of {len(self._live)} beams have reported"
        survivors = self._choose()
        self._reports = {}
        worst = self._finished[-1].score if len(self._finished) == self.width else None
        if worst is not None and survivors and self._attainable(survivors[0]) <= worst:
            survivors = []
        if survivors and len(survivors[0][2]) >= self.max_tokens:
            for beam, token_id, logprobs in survivors:
                self._keep((*beam.output_ids, token_id), logprobs, "length")
            survivors = []
        self._place(survivors, scheduler)

    def _choose(self) -> list[tuple[Sequence, int, tuple[float, ...]]]:
        """The ``width`` best candidates that go on; those that end, among the ``width`` best, are kept."""
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
        self._finished = sorted([*self._finished, answer], key=lambda h: -h.score)[: self.width]

    def _attainable(self, candidate: tuple[Sequence, int, tuple[float, ...]]) -> float:
        """The best score that this beam could still end with."""
        total = sum(candidate[2])
        longest = self.max_tokens if self.length_penalty > 0 else len(candidate[2])
        return float(total / longest**self.length_penalty)

    def _place(self, survivors: list[tuple[Sequence, int, tuple[float, ...]]], scheduler: Forks) -> None:
        kept = {beam for beam, _, _ in survivors}
        reason = "pruned" if survivors else self._finished[0].finish_reason
        for beam in self._live:
            if beam not in kept:
                scheduler.finish(beam, reason)
        # Forks before extensions: a fork copies its parent as it was when it reported.
        placed = [
            (beam, token_id, logprobs, beam in {earlier for earlier, _, _ in survivors[:at]})
            for at, (beam, token_id, logprobs) in enumerate(survivors)
        ]
        children = {at: scheduler.fork(beam, token) for at, (beam, token, _, again) in enumerate(placed) if again}
        self._live = {}
        for at, (beam, token_id, logprobs, again) in enumerate(placed):
            if not again:
                scheduler.extend(beam, token_id)
            self._live[children[at] if again else beam] = logprobs
