"""What is known of model families: one table that all lists come from, and refusals in one sentence."""

from types import SimpleNamespace
from typing import Any

import pytest

from calmops.engine.families import (
    FAMILIES,
    KERNEL_FAMILIES,
    TENSOR_PARALLEL_FAMILIES,
    check_family,
    check_forward,
    family_of,
    is_mixture,
)
from calmops.foundation.errors import UnsupportedModel
from tests.support.engine.engine_settings import engine_settings
from tests.support.engine.tiny_checkpoints import CONFIGS


def config(**more: Any) -> Any:
    return SimpleNamespace(**{"model_type": "phi3", **more})


def test_every_family_that_something_is_claimed_of_has_a_tiny_shape_to_show_it_with() -> None:
    assert set(KERNEL_FAMILIES) <= set(TENSOR_PARALLEL_FAMILIES) <= CONFIGS.keys() <= FAMILIES.keys()
    assert all(name == family.name for name, family in FAMILIES.items())


def test_of_an_unknown_family_nothing_is_claimed() -> None:
    family = family_of(config(model_type="brand_new"))
    assert (family.name, family.tensor_parallel, family.kernel, family.mixture) == ("brand_new", False, False, False)


@pytest.mark.parametrize(
    ("given", "mixture"),
    [
        ({"model_type": "gpt_oss"}, True),
        ({"model_type": "brand_new", "num_experts": 8}, True),
        ({"model_type": "brand_new", "num_local_experts": 8}, True),
        ({"model_type": "llama", "num_experts": 0}, False),
    ],
)
def test_a_mixture_is_known_by_its_family_or_by_its_experts(given: dict[str, Any], mixture: bool) -> None:
    assert is_mixture(config(**given)) is mixture


def test_tensor_parallelism_is_refused_with_the_families_that_have_it(tmp_path: Any) -> None:
    with pytest.raises(
        UnsupportedModel, match=r"over 2 ranks isn't supported for the model family 'phi3': .* mixtral$"
    ):
        check_family(config(), engine_settings(folder=tmp_path, tp=2))


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ({"rope_parameters": {"rope_type": "longrope"}}, "rope type longrope"),
        (
            {
                "rope_parameters": {
                    "full_attention": {"rope_type": "default"},
                    "sliding_attention": {"rope_type": "longrope"},
                }
            },
            "rope type longrope",
        ),
        ({"layer_types": ["full_attention", "chunked_attention"]}, "attends in chunks"),
    ],
)
def test_a_model_whose_rows_depend_on_their_neighbours_is_refused(
    tmp_path: Any, given: dict[str, Any], refusal: str
) -> None:
    with pytest.raises(UnsupportedModel, match=refusal):
        check_family(config(**given), engine_settings(folder=tmp_path))


def test_a_usual_model_is_accepted(tmp_path: Any) -> None:
    check_family(
        config(rope_parameters={"rope_type": "llama3", "rope_theta": 1e4}, layer_types=["full_attention"]),
        engine_settings(folder=tmp_path),
    )


def test_a_model_that_takes_no_positions_is_refused() -> None:
    class NumbersItself:
        def forward(self, input_ids: Any, **rest: Any) -> None: ...

    with pytest.raises(UnsupportedModel, match="NumbersItself takes no position_ids and no logits_to_keep"):
        check_forward(NumbersItself())
