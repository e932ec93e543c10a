"""What a step shared by sequences can't compute is refused, in one sentence, before it is served wrongly."""

from types import SimpleNamespace
from typing import Any

import pytest

from calmops.engine.families import check_family, check_forward
from calmops.engine.settings import EngineSettings
from calmops.foundation.errors import UnsupportedModel


def config(**more: Any) -> Any:
    return SimpleNamespace(**{"model_type": "phi3", **more})


@pytest.mark.parametrize(
    ("given", "told"),
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
def test_ways_that_hang_on_the_neighbours_are_refused(tmp_path: Any, given: dict[str, Any], told: str) -> None:
    with pytest.raises(UnsupportedModel, match=told):
        check_family(config(**given), EngineSettings(folder=tmp_path))


def test_usual_ways_are_not(tmp_path: Any) -> None:
    check_family(
        config(rope_parameters={"rope_type": "llama3", "rope_theta": 1e4}, layer_types=["full_attention"]),
        EngineSettings(folder=tmp_path),
    )


def test_a_model_that_takes_no_positions_is_refused() -> None:
    class NumbersItself:
        def forward(self, input_ids: Any, **rest: Any) -> None: ...

    with pytest.raises(UnsupportedModel, match="NumbersItself takes no position_ids and no logits_to_keep"):
        check_forward(NumbersItself())
