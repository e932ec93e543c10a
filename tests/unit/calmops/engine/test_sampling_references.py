"""The sampler's filters, penalties and bias against a plain reference in Python's own floats; its noise by itself."""

import math
import random
from typing import Any

import pytest
import torch

from calmops.engine.noise import gumbel
from calmops.engine.sampler import Draw, adjust, sample
from calmops.messages.request import SamplingParams

PROMPT, ANSWER = (1, 2, 2), (3, 3, 4)


def a_draw(seed: int, **params: Any) -> Draw:
    fields: dict[str, Any] = {"max_tokens": 9, "seed": seed, **params}
    return Draw(params=SamplingParams(**fields), choice=0, position=3, prompt_ids=PROMPT, answer_ids=ANSWER)


def plainly_adjusted(row: list[float], params: SamplingParams) -> list[float]:
    """Penalties and bias as their definitions say, token by token."""
    adjusted = []
    for token_id, score in enumerate(row):
        seen = token_id in PROMPT or token_id in ANSWER
        factor = params.repetition_penalty if seen else 1.0
        said = ANSWER.count(token_id)
        penalty = (params.presence_penalty if said else 0.0) + params.frequency_penalty * said
        scaled = score / factor if score > 0 else score * factor
        adjusted.append(scaled - penalty + params.logit_bias.get(token_id, 0.0))
    return adjusted


def plainly_kept(row: list[float], params: SamplingParams) -> set[int]:
    """The ids that top-k, then top-p, then min-p leave, on tempered probabilities."""
    order = sorted(range(len(row)), key=lambda i: -row[i])
    kept = order[: params.top_k or len(row)]
    total = sum(math.exp(row[i] / params.temperature) for i in kept)
    share = {i: math.exp(row[i] / params.temperature) / total for i in kept}
    nucleus, reached = [], 0.0
    for i in kept:
        if reached < params.top_p:
            nucleus.append(i)
        reached += share[i]
    return {i for i in nucleus if share[i] >= params.min_p * share[kept[0]]}


@pytest.mark.parametrize("number", range(12))
def test_penalties_and_bias_are_what_their_definitions_say(number: int) -> None:
    rng = random.Random(number)
    row = torch.randn(20, generator=torch.Generator().manual_seed(number)) * 4
    one = a_draw(
        1, repetition_penalty=rng.choice((1.0, 0.8, 1.7)), presence_penalty=rng.choice((0.0, 1.5, -1.0)),
        frequency_penalty=rng.choice((0.0, 0.7, -0.4)), logit_bias=rng.choice(({}, {3: -100.0, 11: 4.5, 999: 1.0})),
    )  # fmt: skip
    expected = torch.tensor(plainly_adjusted(row.tolist(), one.params))
    adjust(row, one)
    torch.testing.assert_close(row, expected)


@pytest.mark.parametrize("number", range(12))
def test_all_and_only_what_the_filters_leave_is_drawn(number: int) -> None:
    rng = random.Random(number)
    params: dict[str, Any] = {
        "temperature": rng.choice((0.5, 1.0, 2.0)), "top_k": rng.choice((0, 1, 4, 100)),
        "top_p": rng.choice((1.0, 0.9, 0.4, 1e-6)), "min_p": rng.choice((0.0, 0.05, 0.9)),
    }  # fmt: skip
    row = torch.randn(1, 12, generator=torch.Generator().manual_seed(number))
    draws = [a_draw(seed, **params) for seed in range(1500)]
    seen = {drawn.token_id for drawn in sample(row.expand(len(draws), -1), draws)}
    allowed = plainly_kept(row[0].tolist(), draws[0].params)
    likely = {i for i in allowed if float(torch.softmax(row[0] / params["temperature"], 0)[i]) > 0.01}
    assert likely <= seen <= allowed, f"case {number}: {params}"


def test_ties_go_to_the_lowest_id_in_any_batch() -> None:
    logits = torch.zeros(7, 4097)
    logits[:, 5] = logits[:, 4000] = 1.0
    assert {one.token_id for one in sample(logits, [a_draw(0, temperature=0.0)] * 7)} == {5}


@pytest.mark.parametrize("vocabulary", [1, 7, 320, 4096, 50257])
def test_noise_has_the_same_bits_alone_and_in_any_row_of_a_batch(vocabulary: int) -> None:
    places = [(seed, choice, position) for seed in (0, 2**63 - 1) for choice in (0, 3) for position in (0, 1023)]
    together = gumbel(places, vocabulary)
    assert torch.isfinite(together).all()
    for row, place in enumerate(places):
        assert torch.equal(together[row], gumbel([place], vocabulary)[0]), f"place {place}"


def test_seed_choice_and_position_each_change_the_noise() -> None:
    noise = gumbel([(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1)], 4096)
    same = [(a, b) for a in range(4) for b in range(a) if int((noise[a] == noise[b]).sum()) > 40]
    assert not same
    assert abs(float(noise.mean()) - 0.5772) < 0.05
