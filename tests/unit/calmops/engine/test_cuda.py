"""The GPU's code is right in float32 through Triton's interpreter; tests/gpu/check.py checks it on a GPU."""

from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("triton", reason="it comes with torch's CUDA builds")

import torch

from calmops.engine.attention import refuse_unknown_tensors
from calmops.engine.backends import choice
from calmops.engine.cuda.fused_layers import FusedRotary
from calmops.engine.cuda.step_inputs import StepInputs, capture_sizes
from calmops.foundation.errors import UnsupportedModel
from calmops.messages.plan import StepPlan
from tests.gpu import check
from tests.support.engine.engine_settings import engine_settings

CPU = torch.device("cpu")


def test_attention_is_right() -> None:
    holds, figure = check.attention(CPU)
    assert holds, figure


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox"])  # plain; capped, windowed; turned in part
def test_logits_equal_those_of_transformers(family: str) -> None:
    holds, figure = check.logits(family, "float32", CPU)
    assert holds, figure


def test_rows_are_drawn_as_the_specification_says() -> None:
    holds, figure = check.drawing(CPU)
    assert holds, figure


def test_rows_beyond_the_plan_point_to_scratch() -> None:
    inputs = StepInputs(CPU, rows=8, wanted=4, blocks=10, scratch_block=99)
    inputs.put(
        _plan(tokens=(5, 6, 7), positions=(16, 17, 3), sequences=(0, 0, 1), tables=((4, 8), (2,)), wanted=(1, 2))
    )
    slots = inputs.row_slots(5)
    at = slots.offsets + slots.positions // 16
    assert inputs.tokens(5).tolist() == [5, 6, 7, 0, 0]
    assert slots.blocks[at].tolist() == [8, 8, 2, 99, 99]
    assert inputs.wanted(4).tolist() == [1, 2, 0, 0]


def test_a_plan_leaves_nothing_of_an_earlier_one() -> None:
    inputs = StepInputs(CPU, rows=4, wanted=2, blocks=10, scratch_block=99)
    inputs.put(_plan(tokens=(5, 6, 7), positions=(0, 1, 2), sequences=(0, 0, 0), tables=((4,),), wanted=(2,)))
    inputs.put(_plan(tokens=(8,), positions=(3,), sequences=(0,), tables=((4,),), wanted=(0,)))
    assert inputs.wanted(2).tolist() == [0, 0], "a row that a smaller step doesn't have"
    assert inputs.row_slots(3).blocks[inputs.row_slots(3).offsets].tolist() == [4, 99, 99]
    inputs.clear()
    assert inputs.row_slots(4).blocks[inputs.row_slots(4).offsets].tolist() == [99, 99, 99, 99]


@pytest.mark.parametrize(
    ("rows", "exact", "expected"),
    [
        (1, False, (1,)),
        (100, False, (1, 2, 4, 8, 16, 32, 64, 100)),
        (256, True, (256,)),
        (2048, False, (1, 2, 4, 8, 16, 32)),
    ],
)
def test_steps_are_captured_for_these_numbers_of_rows(rows: int, exact: bool, expected: tuple[int, ...]) -> None:
    assert capture_sizes(rows, exact=exact, largest=32 if rows > 1000 else 512) == expected


def test_the_familys_own_rotation_is_back_after_a_step() -> None:
    from transformers.models.llama import modeling_llama

    theirs = modeling_llama.apply_rotary_pos_emb
    model = modeling_llama.LlamaForCausalLM(modeling_llama.LlamaConfig(
        vocab_size=8, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1
    ))  # fmt: skip
    fused = FusedRotary(model)
    assert fused.agrees
    with fused():
        assert modeling_llama.apply_rotary_pos_emb is not theirs
    assert modeling_llama.apply_rotary_pos_emb is theirs


def test_exact_is_refused_on_a_gpu_until_it_is_shown(llama: Path) -> None:
    with pytest.raises(UnsupportedModel, match="exact hasn't been shown to hold on cuda"):
        choice.choose_backend(engine_settings(folder=llama, device="cuda", exact=True))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_reported_before_anything_is_loaded(llama: Path) -> None:
    with pytest.raises(UnsupportedModel, match="this process sees no GPU"):
        choice.make_backend(choice.choose_backend(engine_settings(folder=llama, device="cuda"))[0])


def test_a_norm_that_rounds_in_another_place_is_not_replaced() -> None:
    from calmops.engine.cuda.fused_layers import _same

    torch.manual_seed(0)
    x, weight = torch.randn((32, 256)), torch.randn(256).to(torch.bfloat16)
    before, after = x.to(torch.bfloat16).float() * weight.float(), x * weight.float()
    assert _same(before.to(torch.bfloat16), before.to(torch.bfloat16))
    assert not _same(after.to(torch.bfloat16), before.to(torch.bfloat16))


def test_attention_with_sinks_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="attends with s_aux"):
        refuse_unknown_tensors(SimpleNamespace(), {"scaling": 1.0, "s_aux": torch.zeros(2)})


def _plan(
    *, tokens: tuple[int, ...], positions: tuple[int, ...], sequences: tuple[int, ...],
    tables: tuple[tuple[int, ...], ...], wanted: tuple[int, ...],
) -> StepPlan:  # fmt: skip
    return StepPlan(
        step=1, tokens=tokens, positions=positions, rows_to_sequence=sequences, block_tables=tables, wanted_rows=wanted
    )
