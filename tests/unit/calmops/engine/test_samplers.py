"""Every sampler draws what the specification says: one table of cases through the CPU's, the kernel's and the GPU's.

The GPU's is torch alone, so it runs on a CPU here.
"""

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace

from calmops.engine.cuda import sampling as cuda_sampling
from calmops.engine.draw import Draw
from calmops.engine.kernel.sampling import KernelSampler
from calmops.engine.sampler import adjust, sample
from calmops.engine.sampler_specification import adjusted_scores, draw_token, kept_ids
from calmops.messages.request import SamplingParams
from tests.support.engine.kernel_alone import KernelAlone
from tests.support.engine.sampler_cases import (
    CASES,
    KNOWN,
    Sampler,
    difference,
    differences,
    random_draw,
    random_rows,
    rows_of,
)
from tests.support.engine.tiny_checkpoints import VOCABULARY

OF_THE_SCHEDULER = {"max_tokens", "n", "beam_width", "stop", "stop_ids", "loop_guard"}  # fields that no sampler reads


@pytest.fixture(scope="module")
def kernel_sampler(llama: Path) -> Sampler:
    return KernelSampler(KernelAlone(llama, "float32", kv_blocks=4, max_rows=8, threads=2).kernel).sample


@pytest.fixture(params=["cpu", "kernel", "cuda"])
def sampler(request: pytest.FixtureRequest, kernel_sampler: Sampler) -> Sampler:
    samplers: dict[str, Sampler] = {"cpu": sample, "kernel": kernel_sampler, "cuda": cuda_sampling.draw}
    return samplers[request.param]


def padded(rows: list[list[float]] | torch.Tensor) -> torch.Tensor:
    """Rows of logits as the kernel lays them out: each as wide as its own."""
    rows = torch.as_tensor(rows)
    wide = torch.zeros((len(rows), VOCABULARY))
    wide[:, : rows.shape[1]] = rows
    return wide[:, : rows.shape[1]]


def draw(position: int = 3, **params: Any) -> Draw:
    fields = {"max_tokens": 9, **params}
    return Draw(
        params=SamplingParams(**fields), choice=0, position=position, prompt_ids=(1, 2, 2), answer_ids=(3, 3, 4)
    )


def test_every_parameter_of_a_draw_has_a_case_that_hangs_on_it() -> None:
    parameters = set(SamplingParams.__struct_fields__) - OF_THE_SCHEDULER
    assert parameters == {name for params in CASES.values() for name in params}
    assert all(changes_a_draw(name) for name in parameters)


def changes_a_draw(name: str) -> bool:
    """Whether some row of a case with this parameter is drawn otherwise when it has its default."""
    default = getattr(SamplingParams(max_tokens=1), name)
    for case in (case for case, params in CASES.items() if name in params):
        logits, draws, specified = rows_of(case)
        for row, given, expected in zip(logits.tolist(), draws, specified, strict=True):
            without = Draw(
                params=replace(given.params, **{name: default}), choice=given.choice, position=given.position,
                prompt_ids=given.prompt_ids, answer_ids=given.answer_ids,
            )  # fmt: skip
            if difference(draw_token(row, without), expected) is not None:
                return True
    return False


@pytest.mark.parametrize("case", CASES)
def test_each_case_is_drawn_as_specified(sampler: Sampler, case: str) -> None:
    assert not differences(sampler, rows_of(case))


@pytest.mark.parametrize("seed", range(40))
def test_random_requests_are_drawn_as_specified(sampler: Sampler, seed: int) -> None:
    assert not differences(sampler, random_rows(seed))


def test_a_row_draws_the_same_token_alone_and_in_any_batch(sampler: Sampler) -> None:
    rng = random.Random(0)
    logits = torch.randn((64, VOCABULARY), generator=torch.Generator().manual_seed(0))[:, :KNOWN]
    draws = [random_draw(rng) for _ in range(64)]
    together = sampler(logits, draws)
    backwards = sampler(padded(logits.flip(0)), draws[::-1])[::-1]
    alone = [sampler(logits[row : row + 1], [draws[row]])[0] for row in range(64)]
    assert together == alone == backwards


@pytest.mark.parametrize("torch_sampler", [sample, cuda_sampling.draw])
def test_a_row_of_a_large_vocabulary_draws_the_same_alone(torch_sampler: Sampler) -> None:
    logits = torch.randn((64, 4001), generator=torch.Generator().manual_seed(1)) * 2
    draws = [draw(position=0, temperature=1.0, top_p=0.9, logprobs=3, seed=row) for row in range(64)]
    together = torch_sampler(logits, draws)
    assert [torch_sampler(logits[row : row + 1], [draws[row]])[0] for row in range(64)] == together


def test_the_logits_are_left_as_they_are(sampler: Sampler) -> None:
    rng = random.Random(3)
    logits = padded(torch.randn((32, KNOWN), generator=torch.Generator().manual_seed(3)))
    before = logits.clone()
    sampler(logits, [random_draw(rng) for _ in range(32)])
    assert torch.equal(logits, before)


def test_equal_scores_give_the_lowest_id_in_any_batch(sampler: Sampler) -> None:
    logits = padded(torch.zeros(7, KNOWN))
    logits[:, 5] = logits[:, 290] = 1.0
    assert {one.token_id for one in sampler(logits, [draw(temperature=0.0)] * 7)} == {5}


@pytest.mark.parametrize("torch_sampler", [sample, cuda_sampling.draw])
def test_equal_scores_of_a_large_vocabulary_give_the_lowest_id(torch_sampler: Sampler) -> None:
    logits = torch.zeros(7, 4097)
    logits[:, 5] = logits[:, 4000] = 1.0
    assert {one.token_id for one in torch_sampler(logits, [draw(temperature=0.0)] * 7)} == {5}


def test_the_seed_moves_the_draw(sampler: Sampler) -> None:
    logits = padded(torch.randn((1, 50), generator=torch.Generator().manual_seed(0)) * 3)
    assert len({sampler(logits, [draw(temperature=2.0, seed=seed)])[0].token_id for seed in range(100)}) > 5


def test_a_request_that_goes_on_draws_with_its_new_position(sampler: Sampler) -> None:
    params = SamplingParams(max_tokens=64, seed=7)
    logits = padded(torch.zeros((1, KNOWN)))
    draws = [Draw(params=params, choice=0, position=at, prompt_ids=(1,), answer_ids=()) for at in range(64)]
    drawn = [sampler(logits, [one])[0].token_id for one in draws]
    assert drawn == [draw_token(logits[0].tolist(), one).token_id for one in draws]
    assert len(set(drawn)) > 30


def test_draws_follow_the_distribution(sampler: Sampler) -> None:
    count, shares = 4000, (0.5, 0.3, 0.15, 0.05)
    logits = padded(torch.log(torch.tensor([shares])).expand(count, -1))
    drawn = sampler(logits, [draw(position, temperature=1.0, seed=11) for position in range(count)])
    token_ids = [one.token_id for one in drawn]
    for token_id, share in enumerate(shares):
        assert abs(token_ids.count(token_id) / count - share) < 4 * math.sqrt(share * (1 - share) / count)


@pytest.mark.parametrize("number", range(12))
def test_all_and_only_what_the_filters_leave_is_drawn(sampler: Sampler, number: int) -> None:
    rng = random.Random(number)
    params: dict[str, Any] = {
        "temperature": rng.choice((0.5, 1.0, 2.0)), "top_k": rng.choice((0, 1, 4, 100)),
        "top_p": rng.choice((1.0, 0.9, 0.4, 1e-6)), "min_p": rng.choice((0.0, 0.05, 0.9)),
    }  # fmt: skip
    row = torch.randn(1, 12, generator=torch.Generator().manual_seed(number))
    draws = [draw(seed=seed, **params) for seed in range(1500)]
    drawn = {one.token_id for one in sampler(padded(row.expand(len(draws), -1)), draws)}
    tempered = row[0] / params["temperature"]
    allowed = kept_ids(tempered.tolist(), draws[0].params)
    likely = {token_id for token_id in allowed if float(torch.softmax(tempered, 0)[token_id]) > 0.01}
    assert likely <= drawn <= allowed, f"case {number}: {params}"


@pytest.mark.parametrize("number", range(12))
def test_penalties_and_bias_are_what_the_specification_says(number: int) -> None:
    rng = random.Random(number)
    row = torch.randn(20, generator=torch.Generator().manual_seed(number)) * 4
    given = draw(
        repetition_penalty=rng.choice((1.0, 0.8, 1.7)), presence_penalty=rng.choice((0.0, 1.5, -1.0)),
        frequency_penalty=rng.choice((0.0, 0.7, -0.4)), logit_bias=rng.choice(({}, {3: -100.0, 11: 4.5, 999: 1.0})),
    )  # fmt: skip
    expected = torch.tensor(adjusted_scores(row.tolist(), given))
    adjust(row, given)
    torch.testing.assert_close(row, expected)


def test_penalties_and_bias_move_what_they_should(sampler: Sampler) -> None:
    logits = padded(torch.zeros(1, 50))
    logits[0, 3] = 1.0
    assert sampler(logits, [draw(temperature=0.0)])[0].token_id == 3
    assert sampler(logits, [draw(temperature=0.0, frequency_penalty=0.6)])[0].token_id != 3
    assert sampler(logits, [draw(temperature=0.0, logit_bias={9: 2.0})])[0].token_id == 9


def test_ids_beyond_the_tokenizers_vocabulary_are_nobodys_token(sampler: Sampler) -> None:
    """A padded checkpoint's prompt may hold them; the logits that are drawn from end at the tokenizer's size."""
    logits = padded(torch.randn((1, 50), generator=torch.Generator().manual_seed(0)) * 3)
    params = SamplingParams(max_tokens=9, repetition_penalty=1.5, presence_penalty=0.5)
    given = Draw(params=params, choice=0, position=0, prompt_ids=(1, 57), answer_ids=(3, 50))
    without = Draw(params=params, choice=0, position=0, prompt_ids=(1,), answer_ids=(3,))
    assert sampler(logits, [given]) == sampler(logits, [without])
