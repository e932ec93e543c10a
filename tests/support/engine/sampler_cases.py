"""Holds the samplers' test table: cases with every sampling parameter, and what the specification draws from them.

Used by the engine's tests, the proof engine/kernel-sanitized and the check on a GPU.
"""

import functools
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from calmops.engine.draw import Draw, Drawn
from calmops.engine.sampler_specification import draw_token
from calmops.messages.request import SamplingParams
from tests.support.engine.tiny_checkpoints import VOCABULARY

Sampler = Callable[[torch.Tensor, Sequence[Draw]], list[Drawn]]

KNOWN = 300  # ids that may be drawn; the rest pads the vocabulary
LOGPROB_ERROR = 1e-4  # by which float32 may be off
ROWS = 24  # of each case

# What each case shows, and its parameters. The temperature is 1 unless the case gives another.
CASES: dict[str, dict[str, Any]] = {
    "nothing but noise": {},
    "greedy takes the largest, of equal ones the lowest id": {"temperature": 0.0},
    "a low temperature sharpens": {"temperature": 0.2},
    "a high temperature flattens": {"temperature": 2.0},
    "another seed is another draw": {"seed": 11, "temperature": 1.5},
    "top-k of one is greedy": {"top_k": 1},
    "top-k keeps what equals its last": {"top_k": 3, "temperature": 2.0},
    "top-k beyond the vocabulary is off": {"top_k": 100_000},
    "top-p keeps the one that reaches it": {"top_p": 0.3, "temperature": 2.0},
    "a tiny top-p keeps the best": {"top_p": 1e-6},
    "top-p counts shares of what top-k left": {"top_k": 20, "top_p": 0.7, "temperature": 2.0},
    "min-p is a share of the best": {"min_p": 0.1, "temperature": 2.0},
    "min-p of one keeps the best": {"min_p": 1.0},
    "all three filters": {"top_k": 30, "top_p": 0.9, "min_p": 0.02, "temperature": 2.0},
    "repetition divides what is positive and multiplies the rest": {"repetition_penalty": 1.7},
    "repetition below one rewards": {"repetition_penalty": 0.6, "temperature": 0.0},
    "presence counts an answer's token once": {"presence_penalty": 2.0, "temperature": 0.0},
    "frequency counts it each time": {"frequency_penalty": 1.5, "temperature": 0.0},
    "negative penalties reward": {"presence_penalty": -2.0, "frequency_penalty": -0.7},
    "bias adds, also beyond the vocabulary": {"logit_bias": {7: 9.0, 11: -100.0, VOCABULARY + 679: 50.0}},
    "penalties and bias come before temperature and filters": {
        "temperature": 0.7, "top_k": 5, "min_p": 0.05, "repetition_penalty": 1.3, "presence_penalty": 0.6,
        "frequency_penalty": -0.4, "logit_bias": {3: 4.5},
    },
    "log-probabilities are of the unmodified distribution": {"logprobs": 5, "repetition_penalty": 1.5, "top_k": 4},
    "only the drawn token's log-probability": {"logprobs": 0},
    "more alternatives than ids": {"logprobs": 1000},
}  # fmt: skip


class Rows(NamedTuple):
    """Rows of logits, how each is drawn, and what the specification draws from each."""

    logits: torch.Tensor  # [W, KNOWN] float32, rows as wide as the kernel's own
    draws: list[Draw]
    specified: list[Drawn]


@functools.cache
def rows_of(case: str) -> Rows:
    """Return a case's rows: half of them smooth, half of them, without log-probabilities, full of equal logits."""
    rng = random.Random(case)
    params = {"temperature": 1.0, "seed": 7, **CASES[case]}
    logits = _random_logits(rng, ROWS)
    if params.get("logprobs") is None:  # which of equal alternatives comes first isn't specified
        logits[: ROWS // 2] = logits[: ROWS // 2].round()
    draws = []
    for row in logits[:, :KNOWN]:
        likely = [*row.topk(30).indices.tolist(), KNOWN, VOCABULARY - 1]  # the last two are padding: nobody's tokens
        draws.append(_draw(rng, SamplingParams(max_tokens=9, **params), likely))
    return _specified(logits, draws)


@functools.cache
def random_rows(seed: int) -> Rows:
    """Return rows of random requests, with at most three different scales of logits."""
    rng = random.Random(seed)
    return _specified(_random_logits(rng, 36), [random_draw(rng) for _ in range(36)])


def random_draw(rng: random.Random, vocabulary: int = KNOWN) -> Draw:
    """Return a draw with any of the parameters."""
    choices: dict[str, Any] = {
        "top_k": rng.choice((1, 5, 50)), "top_p": rng.choice((0.1, 0.5, 0.9)), "min_p": rng.choice((0.05, 0.5)),
        "repetition_penalty": 1.3, "presence_penalty": 0.6, "frequency_penalty": -0.4,
        "logit_bias": {rng.randrange(VOCABULARY): rng.uniform(-9, 9) for _ in range(3)},
        "logprobs": rng.choice((0, 1, 5, 20)),
    }  # fmt: skip
    given = {name: value for name, value in choices.items() if rng.random() < 0.3}
    temperature = rng.choice((0.0, 0.7, 1.0, 1.5))
    params = SamplingParams(max_tokens=5, seed=rng.getrandbits(63), temperature=temperature, **given)
    return _draw(rng, params, range(vocabulary))


def difference(drawn: Drawn, specified: Drawn) -> str | None:
    """Say how a sampler's draw differs from the specification's; None if it doesn't."""
    if drawn.token_id != specified.token_id:
        return f"token {drawn.token_id} instead of {specified.token_id}"
    if [token_id for token_id, _ in drawn.top] != [token_id for token_id, _ in specified.top]:
        return f"alternatives {drawn.top} instead of {specified.top}"
    if (drawn.logprob is None) != (specified.logprob is None):
        return f"log-probability {drawn.logprob} instead of {specified.logprob}"
    values = [(drawn.logprob or 0.0, specified.logprob or 0.0)]
    values += [(ours, theirs) for (_, ours), (_, theirs) in zip(drawn.top, specified.top, strict=True)]
    largest = max(abs(ours - theirs) for ours, theirs in values)
    return None if largest < LOGPROB_ERROR else f"a log-probability is {largest} off"


def differences(sampler: Sampler, rows: Rows) -> list[str]:
    """Return every row's difference, with its number and its draw."""
    drawn = zip(sampler(rows.logits, rows.draws), rows.specified, rows.draws, strict=True)
    return [
        f"row {number}: {text}, drawn by {draw}"
        for number, (ours, specified, draw) in enumerate(drawn)
        if (text := difference(ours, specified)) is not None
    ]


def _draw(rng: random.Random, params: SamplingParams, earlier_ids: Sequence[int]) -> Draw:
    return Draw(
        params=params,
        choice=rng.randrange(3),
        position=rng.randrange(50),
        prompt_ids=tuple(rng.choices(earlier_ids, k=20)),
        answer_ids=rng.choices(earlier_ids, k=rng.randrange(30)),
    )


def _random_logits(rng: random.Random, rows: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rng.getrandbits(32))
    scales = torch.tensor([[rng.choice((1.0, 3.0, 10.0))] for _ in range(rows)])
    return torch.randn((rows, VOCABULARY), generator=generator) * scales


def _specified(padded: torch.Tensor, draws: list[Draw]) -> Rows:
    logits = padded[:, :KNOWN]
    specified = [draw_token(row, draw) for row, draw in zip(logits.tolist(), draws, strict=True)]
    return Rows(logits, draws, specified)
