"""The CPU kernel gives transformers' logits, the same bits in any batch, and a reason for each model it doesn't run."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from calmops.engine.backends.choice import choose_backend
from calmops.engine.families import KERNEL_FAMILIES
from calmops.engine.kernel import unsupported_reason
from calmops.engine.kernel.packing import pack_matrix
from calmops.foundation.errors import ConfigError, UnsupportedModel
from calmops.messages.plan import StepPlan
from tests.support.engine.engine_settings import engine_settings
from tests.support.engine.kernel_alone import KernelAlone, largest_error, load, reference
from tests.support.engine.kernel_ranks import LENGTHS, logits_on_two_ranks
from tests.support.engine.ragged_steps import ragged_logits, random_sequences
from tests.support.engine.tiny_checkpoints import CONFIGS, VOCABULARY, make_checkpoint

BLOCKS = 40
SEQUENCES = random_sequences(1, LENGTHS, VOCABULARY)


@pytest.fixture(scope="module", params=KERNEL_FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp(request.param), request.param)


def test_float32_logits_equal_those_of_transformers(folder: Path) -> None:
    logits = ragged_logits(KernelAlone(folder, "float32", kv_blocks=BLOCKS), SEQUENCES, BLOCKS, seed=0)
    assert largest_error(logits, reference(load(folder), SEQUENCES)) < 1e-5


def test_bfloat16_is_no_further_from_float32_than_transformers_is(folder: Path) -> None:
    exact = reference(load(folder), SEQUENCES)
    their_error = largest_error(reference(load(folder, "bfloat16"), SEQUENCES), exact)
    logits = ragged_logits(KernelAlone(folder, "bfloat16", kv_blocks=BLOCKS), SEQUENCES, BLOCKS, seed=0)
    assert largest_error(logits, exact) <= their_error


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_a_row_has_the_same_bits_in_any_batch_chunk_and_number_of_threads(folder: Path, weights: str) -> None:
    first: dict[tuple[int, int], torch.Tensor] = {}
    compared = 0
    for threads, seed in ((1, 0), (1, 1), (2, 2), (3, 3)):
        backend = KernelAlone(folder, weights, kv_blocks=BLOCKS, threads=threads)
        for at, logits in ragged_logits(backend, SEQUENCES, BLOCKS, seed).items():
            compared += at in first
            assert torch.equal(first.setdefault(at, logits), logits), f"sequence and position {at}"
    assert compared > 300


def test_what_a_freed_block_held_is_never_read(folder: Path) -> None:
    backend = KernelAlone(folder, "bfloat16", kv_blocks=2)
    clean = backend.step(plan((5, 6, 7))).clone()
    for cache in (0, 1):
        backend.step(plan(range(3, 35), table=(cache, 1 - cache)))
    assert torch.equal(backend.step(plan((5, 6, 7))), clean)


def plan(tokens: Any, table: tuple[int, ...] = (0, 1)) -> StepPlan:
    ids = tuple(tokens)
    return StepPlan(
        step=1, tokens=ids, positions=tuple(range(len(ids))), rows_to_sequence=(0,) * len(ids), block_tables=(table,),
        wanted_rows=(len(ids) - 1,),
    )  # fmt: skip


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_packing_keeps_every_weight(weights: str) -> None:
    weight = torch.randn(70, 33).to(torch.float32 if weights == "float32" else torch.bfloat16)
    packed = pack_matrix(weight, weights)
    outputs = packed.data.shape[0] * 16
    back = packed.data.permute(0, 2, 1, 3) if weights == "bfloat16" else packed.data.permute(0, 3, 1, 2)
    back = back.reshape(outputs, -1).float() * (1 if packed.scale is None else packed.scale[:, None])
    assert outputs == 128
    assert not back[70:].any()
    assert not back[:, 33:].any()
    close = 0.0 if packed.scale is None else float(packed.scale.max()) / 2 * 1.001
    assert float((back[:70, :33] - weight.float()).abs().max()) <= close


@pytest.mark.parametrize(
    ("family", "changes", "expected"),
    [
        ("gemma2", {}, "family 'gemma2' isn't one of llama, mistral, qwen2, qwen3"),
        ("llama", {"hidden_act": "gelu"}, "activation is 'gelu'"),
        ("llama", {"head_dim": 24}, "head size is 24, not a multiple of 16"),
        ("llama", {"mlp_bias": True}, "feed-forward layers have biases"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
            "scaled by 'dynamic'",
        ),
    ],
)
def test_a_model_that_the_kernel_does_not_run_is_refused_with_a_reason(
    family: str, changes: dict[str, Any], expected: str
) -> None:
    reason = unsupported_reason(transformers.AutoConfig.for_model(family, **{**CONFIGS[family], **changes}))
    assert reason is not None
    assert expected in reason


def test_a_setting_that_cannot_be_had_is_refused_only_if_somebody_set_it(tmp_path: Path) -> None:
    gemma = make_checkpoint(tmp_path / "gemma2", "gemma2")
    with pytest.raises(UnsupportedModel, match="quantize: int8 can't be had: the model family 'gemma2'"):
        choose_backend(engine_settings(folder=gemma, quantize="int8"))
    with pytest.raises(UnsupportedModel, match="backend: kernel can't be had"):
        choose_backend(engine_settings(folder=gemma, backend="kernel"))
    settled, why = choose_backend(engine_settings(folder=gemma))
    assert (settled.backend, settled.exact) == ("transformers", False)
    assert why is not None
    with pytest.raises(ConfigError, match="quantize is 'int4'"):
        engine_settings(folder=gemma, quantize="int4")  # as a person may write it


def test_exact_is_on_wherever_the_kernel_runs(folder: Path) -> None:
    settled, why = choose_backend(engine_settings(folder=folder))
    assert (settled.backend, settled.exact, why) == ("kernel", True, None)


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_two_ranks_give_the_same_bits_through_deepspeeds_sum_and_through_ours(folder: Path, weights: str) -> None:
    exact = reference(load(folder), random_sequences(1, LENGTHS, VOCABULARY))
    theirs, ours = (logits_on_two_ranks(folder, weights, ours=mine, seed=10 + mine) for mine in (False, True))
    assert largest_error(theirs, exact) < (1e-5 if weights == "float32" else 0.2)
    both = theirs.keys() & ours.keys()
    assert len(both) > 100
    assert all(torch.equal(theirs[at], ours[at]) for at in both)
