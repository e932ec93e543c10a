"""The specification of a draw by hand: each rule on a row small enough to check with a pencil."""

import math
from typing import Any

import pytest

from calmops.engine.draw import Draw
from calmops.engine.sampler_specification import adjusted_scores, draw_token, kept_ids, log_probabilities, noise
from calmops.messages.request import SamplingParams


def draw(**params: Any) -> Draw:
    """A draw after the prompt 1, 2, 2 and the answer 3, 3, 4."""
    fields = {"max_tokens": 9, **params}
    return Draw(params=SamplingParams(**fields), choice=0, position=3, prompt_ids=(1, 2, 2), answer_ids=(3, 3, 4))


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, [8.0, 8.0, -8.0, 8.0, -8.0]),
        ({"repetition_penalty": 2.0}, [8.0, 4.0, -16.0, 4.0, -16.0]),
        ({"repetition_penalty": 0.5}, [8.0, 16.0, -4.0, 16.0, -4.0]),
        ({"presence_penalty": 1.5}, [8.0, 8.0, -8.0, 6.5, -9.5]),
        ({"frequency_penalty": 1.5}, [8.0, 8.0, -8.0, 5.0, -9.5]),
        ({"presence_penalty": 1.0, "frequency_penalty": 0.5}, [8.0, 8.0, -8.0, 6.0, -9.5]),
        ({"logit_bias": {0: -1.0, 4: 9.0, 999: 1.0}}, [7.0, 8.0, -8.0, 8.0, 1.0]),
        ({"repetition_penalty": 2.0, "presence_penalty": 1.0, "logit_bias": {3: 0.5}}, [8.0, 4.0, -16.0, 3.5, -17.0]),
    ],
)
def test_penalties_then_bias(params: dict[str, Any], expected: list[float]) -> None:
    assert adjusted_scores([8.0, 8.0, -8.0, 8.0, -8.0], draw(**params)) == expected


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, {0, 1, 2, 3}),
        ({"top_k": 1}, {0}),
        ({"top_k": 3}, {0, 1, 2}),
        ({"top_k": 4}, {0, 1, 2, 3}),
        ({"top_p": 0.49}, {0}),
        ({"top_p": 0.51}, {0, 1}),
        ({"top_p": 0.85}, {0, 1, 2}),
        ({"top_p": 1e-9}, {0}),
        ({"top_k": 2, "top_p": 0.6}, {0}),  # 0.5 of the 0.8 that top-k leaves is 0.625
        ({"min_p": 0.31}, {0, 1}),
        ({"min_p": 0.29}, {0, 1, 2}),
        ({"min_p": 1.0}, {0}),
    ],
)
def test_the_filters_on_shares_of_a_half_three_tenths_and_two_smaller(
    params: dict[str, Any], expected: set[int]
) -> None:
    shares = [math.log(share) for share in (0.5, 0.3, 0.15, 0.05)]
    assert kept_ids(shares, draw(**params).params) == expected


def test_what_equals_the_last_one_kept_is_kept_too() -> None:
    assert kept_ids([1.0, 0.0, 0.0, -1.0], draw(top_k=2).params) == {0, 1, 2}
    assert kept_ids([0.0, 0.0, 0.0, -9.0], draw(top_p=0.1).params) == {0, 1, 2}


def test_greedy_takes_the_lowest_of_equal_ids_and_no_filter() -> None:
    assert draw_token([0.0, 2.0, 1.0, 2.0], draw(temperature=0.0)).token_id == 1


def test_log_probabilities_are_of_the_logits_as_they_came() -> None:
    logits = [math.log(share) for share in (0.2, 0.5, 0.3)]
    drawn = draw_token(logits, draw(temperature=0.0, logprobs=2, logit_bias={0: 9.0}))
    assert drawn.token_id == 0
    assert drawn.logprob == pytest.approx(math.log(0.2))
    assert [token_id for token_id, _ in drawn.top] == [1, 2]
    assert [logprob for _, logprob in drawn.top] == pytest.approx([math.log(0.5), math.log(0.3)])
    assert sum(map(math.exp, log_probabilities([3.0, -1.0, 800.0]))) == pytest.approx(1.0)


def test_the_largest_score_with_noise_wins() -> None:
    logits = [0.0, 1.0, 0.5]
    for seed in range(50):
        noisy = [logit / 2.0 + noise(seed, 0, 3, token_id) for token_id, logit in enumerate(logits)]
        assert draw_token(logits, draw(temperature=2.0, seed=seed)).token_id == noisy.index(max(noisy))
