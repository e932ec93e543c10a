"""Sampling without state: a row's token depends on that row alone; filters against a plain reference."""

import math
from typing import Any

import pytest
import torch

from calmops.engine.sampler import Draw, sample
from calmops.messages.request import SamplingParams

VOCABULARY = 50


def draw(position: int = 0, **params: Any) -> Draw:
    fields = {"max_tokens": 9, **params}
    return Draw(params=SamplingParams(**fields), choice=0, position=position, prompt_ids=(1, 2), answer_ids=(3, 3, 4))


def rows(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 3


PARAMS: list[dict[str, Any]] = [
    {"temperature": 0.0}, {"temperature": 1.0}, {"temperature": 0.7, "top_p": 0.8}, {"temperature": 1.3, "top_k": 5},
    {"temperature": 1.0, "min_p": 0.1}, {"temperature": 1.0, "repetition_penalty": 1.5, "presence_penalty": 0.5},
    {"temperature": 0.9, "logit_bias": {7: 5.0}, "logprobs": 2},
]  # fmt: skip


def test_a_row_draws_the_same_token_alone_and_in_any_batch() -> None:
    logits = rows(28)
    draws = [draw(position=i, seed=i * 7919, **PARAMS[i % len(PARAMS)]) for i in range(28)]
    together = sample(logits, draws)
    backwards = sample(logits.flip(0), draws[::-1])[::-1]
    alone = [sample(logits[i : i + 1], [draws[i]])[0] for i in range(28)]
    assert together == alone == backwards


def test_greedy_takes_the_largest_and_sampling_follows_the_seed() -> None:
    logits = rows(1)
    assert sample(logits, [draw(temperature=0.0)])[0].token_id == int(logits[0].argmax())
    seen = {sample(logits, [draw(temperature=2.0, seed=seed)])[0].token_id for seed in range(100)}
    assert len(seen) > 5


@pytest.mark.parametrize(("params", "allowed"), [({"top_k": 3}, 3), ({"top_p": 0.5}, None), ({"min_p": 0.2}, None)])
def test_nothing_outside_the_filters_is_ever_drawn(params: dict[str, Any], allowed: int | None) -> None:
    logits = rows(1, seed=4)
    probabilities = torch.softmax(logits[0], dim=-1)
    order = probabilities.argsort(descending=True)
    if "top_p" in params:
        allowed = int((probabilities[order].cumsum(0) < params["top_p"]).sum()) + 1
    if "min_p" in params:
        allowed = int((probabilities >= params["min_p"] * probabilities.max()).sum())
    inside = set(order[:allowed].tolist())
    seen = {sample(logits, [draw(temperature=1.0, seed=seed, **params)])[0].token_id for seed in range(300)}
    assert seen <= inside
    assert len(seen) == min(allowed or 0, len(seen)) > 0


def test_draws_follow_the_distribution() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    count = 4000
    seen = [sample(logits, [draw(position=i, temperature=1.0, seed=11)])[0].token_id for i in range(count)]
    for token_id, share in enumerate((0.5, 0.3, 0.15, 0.05)):
        assert abs(seen.count(token_id) / count - share) < 4 * math.sqrt(share * (1 - share) / count)


def test_penalties_and_bias_move_what_they_should() -> None:
    logits = torch.zeros(1, VOCABULARY)
    logits[0, 3] = 1.0
    assert sample(logits, [draw(temperature=0.0)])[0].token_id == 3
    assert sample(logits, [draw(temperature=0.0, frequency_penalty=0.6)])[0].token_id != 3
    assert sample(logits, [draw(temperature=0.0, logit_bias={9: 2.0})])[0].token_id == 9


def test_ids_beyond_the_tokenizers_vocabulary_are_nobodys_token() -> None:
    """A padded checkpoint's prompt may hold them; the logits that are drawn from end at the tokenizer's size."""
    params = SamplingParams(max_tokens=9, repetition_penalty=1.5, presence_penalty=0.5)
    given = Draw(params=params, choice=0, position=0, prompt_ids=(1, VOCABULARY + 7), answer_ids=(3, VOCABULARY))
    without = Draw(params=params, choice=0, position=0, prompt_ids=(1,), answer_ids=(3,))
    assert sample(rows(1), [given]) == sample(rows(1), [without])
