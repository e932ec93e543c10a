"""Beam search over a real scheduler finds what a look at every possible answer finds."""

import math
import random
from itertools import product

import pytest

from calmops.decoding.beam import BeamSearch, Hypothesis
from calmops.decoding.scheduler import Limits, Scheduler
from tests.support.placements import sequences

END = 0
VOCABULARY = (END, 1, 2)


class Model:
    """Draws a distribution of the next token once per prefix."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._seen: dict[tuple[int, ...], list[float]] = {}

    def logprobs(self, prefix: tuple[int, ...]) -> list[float]:
        """Return the log-probabilities of VOCABULARY's tokens, in order."""
        if prefix not in self._seen:
            weights = [self._rng.random() + 0.01 for _ in VOCABULARY]
            self._seen[prefix] = [math.log(weight / sum(weights)) for weight in weights]
        return self._seen[prefix]


def search(model: Model, width: int, max_tokens: int, kv_blocks: int = 64) -> tuple[list[Hypothesis], Scheduler]:
    """Run one search to its end; return its answers, best first, and the scheduler that it leaves."""
    limits = Limits(
        kv_blocks=kv_blocks,
        max_sequences=32,
        max_rows_per_step=32,
        max_model_len=64,
        max_waiting=1024,
        prefix_cache=True,
    )
    scheduler = Scheduler(limits)
    (root,) = sequences("r", 4, beam_width=width, max_tokens=max_tokens, stop_ids=(END,))
    scheduler.submit([root])
    beams = BeamSearch(root, 64)
    for _ in range(1000):
        if beams.done:
            return beams.ranked(), scheduler
        work = scheduler.plan()
        assert work is not None
        for beam in work.wanted:
            candidates = zip(VOCABULARY, model.logprobs(tuple(beam.output_ids)), strict=True)
            ranked = sorted(candidates, key=lambda candidate: -candidate[1])
            beams.report(beam, ranked[: beams.top_k])
        scheduler.commit(work, [0] * len(work.wanted))
        if beams.ready:
            beams.advance(scheduler)
    raise AssertionError("the search didn't end")


def best_answer(model: Model, max_tokens: int) -> tuple[float, tuple[int, ...]]:
    """Return score and ids of the best of all answers: those that end, and those of full length that don't."""
    answers = []
    for length in range(1, max_tokens + 1):
        for ids in product(VOCABULARY, repeat=length):
            if END in ids[:-1] or (ids[-1] != END and length < max_tokens):
                continue
            total = sum(model.logprobs(ids[:at])[VOCABULARY.index(token)] for at, token in enumerate(ids))
            answers.append((total / length, ids))
    return max(answers)


@pytest.mark.parametrize("seed", range(30))
def test_a_search_that_is_wide_enough_for_every_prefix_finds_the_best_answer_of_all(seed: int) -> None:
    model = Model(seed)
    (best, *_), _ = search(model, width=16, max_tokens=4)
    score, ids = best_answer(model, 4)
    assert best.token_ids == ids
    assert best.score == pytest.approx(score)


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_answers_come_best_first_and_are_distinct_and_no_block_stays_held(width: int) -> None:
    answers, scheduler = search(Model(width), width, max_tokens=6)
    assert [answer.score for answer in answers] == sorted((answer.score for answer in answers), reverse=True)
    assert len({answer.token_ids for answer in answers}) == len(answers) == width
    assert all((answer.token_ids[-1] == END) == (answer.finish_reason == "stop") for answer in answers)
    assert (scheduler.kv_blocks_used, scheduler.running, scheduler.waiting) == (0, 0, 0)


def test_a_search_of_width_one_is_greedy() -> None:
    model = Model(3)
    (answer,), _ = search(model, width=1, max_tokens=6)
    greedy: tuple[int, ...] = ()
    while len(greedy) < len(answer.token_ids):
        logprobs = model.logprobs(greedy)
        greedy = (*greedy, VOCABULARY[logprobs.index(max(logprobs))])
    assert answer.token_ids == greedy


def test_a_cache_too_small_for_all_beams_at_once_changes_no_answer() -> None:
    roomy, _ = search(Model(1), width=4, max_tokens=20)
    tight, _ = search(Model(1), width=4, max_tokens=20, kv_blocks=8)
    assert tight == roomy
