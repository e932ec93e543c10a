"""The kernel's sampler beside the one in torch: the same token for every row, and the same log-probabilities."""

import random
from typing import Any

import pytest
import torch

from calmops.engine.kernel.sampling import KernelSampler
from calmops.engine.sampler import Draw, sample
from calmops.messages.request import SamplingParams
from tests.support.engine.kernel_alone import Packed
from tests.support.engine.tiny_checkpoints import VOCABULARY, make_checkpoint

KNOWN = 300  # ids that may be drawn; the rest pads the vocabulary


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> KernelSampler:
    folder = make_checkpoint(tmp_path_factory.mktemp("llama"), "llama")
    return KernelSampler(Packed(folder, "float32", kv_blocks=4, max_rows=8, threads=2).kernel)


def random_draw(rng: random.Random) -> Draw:
    wished: dict[str, Any] = {
        "top_k": rng.choice((1, 5, 50)), "top_p": rng.choice((0.1, 0.5, 0.9)), "min_p": rng.choice((0.05, 0.5)),
        "repetition_penalty": 1.3, "presence_penalty": 0.6, "frequency_penalty": -0.4,
        "logit_bias": {rng.randrange(VOCABULARY): rng.uniform(-9, 9) for _ in range(3)},
        "logprobs": rng.choice((0, 1, 5, 20)),
    }  # fmt: skip
    given = {name: value for name, value in wished.items() if rng.random() < 0.3}
    temperature = rng.choice((0.0, 0.7, 1.0, 1.5))
    return Draw(
        params=SamplingParams(max_tokens=5, seed=rng.getrandbits(63), temperature=temperature, **given),
        choice=rng.randrange(3), position=rng.randrange(50),
        prompt_ids=tuple(rng.randrange(KNOWN) for _ in range(20)),
        answer_ids=[rng.randrange(KNOWN) for _ in range(rng.randrange(30))],
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_every_row_draws_what_torch_draws(sampler: KernelSampler, seed: int) -> None:
    rng = random.Random(seed)
    for rows in range(1, 9):
        padded = torch.randn((rows, VOCABULARY), generator=torch.Generator().manual_seed(seed)) * rng.choice((1, 3, 10))
        logits, draws = padded[:, :KNOWN], [random_draw(rng) for _ in range(rows)]
        for theirs, ours in zip(sample(logits, draws), sampler.sample(logits, draws), strict=True):
            assert ours.token_id == theirs.token_id
            assert (ours.logprob is None) == (theirs.logprob is None)
            assert [i for i, _ in ours.top] == [i for i, _ in theirs.top]
            pairs = zip(
                (ours.logprob, *(v for _, v in ours.top)), (theirs.logprob, *(v for _, v in theirs.top)), strict=True
            )
            assert all(a == b if a is None or b is None else abs(a - b) < 1e-4 for a, b in pairs)


def test_a_row_draws_alone_what_it_draws_among_others(sampler: KernelSampler) -> None:
    rng = random.Random(0)
    logits, draws = torch.randn((64, VOCABULARY)), [random_draw(rng) for _ in range(64)]
    together = sampler.sample(logits[:, :KNOWN], draws)
    assert together == [sampler.sample(logits[i : i + 1, :KNOWN], [draw])[0] for i, draw in enumerate(draws)]


def test_a_request_that_goes_on_draws_with_its_new_position(sampler: KernelSampler) -> None:
    params = SamplingParams(max_tokens=64, seed=7)
    logits = torch.zeros((1, VOCABULARY))[:, :KNOWN]
    draws = [Draw(params=params, choice=0, position=at, prompt_ids=(1,), answer_ids=()) for at in range(64)]
    drawn = [sampler.sample(logits, [draw])[0].token_id for draw in draws]
    assert drawn == [sample(logits, [draw])[0].token_id for draw in draws]
    assert len(set(drawn)) > 30
