"""Lists what is known of each model family and refuses what can't be served, before any weight is read if possible.

``FAMILIES`` is the only list: the kernel's support, the tests and the proofs take theirs from it. A family that isn't
in it runs on one rank through transformers' modules, if the checks here let it pass. Knows no tensor and no step.
"""

import inspect
from dataclasses import dataclass
from typing import Any, Literal

from calmops.engine.settings import EngineSettings
from calmops.foundation.errors import UnsupportedModel
from calmops.messages.plan import StepPlan

# Two rows into the first block: the cache takes its shapes from them.
FIRST_STEP = StepPlan(
    step=0, tokens=(0, 0), positions=(0, 1), rows_to_sequence=(0, 0), block_tables=((0,),), wanted_rows=(1,)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Says what was shown of one model family, by the name that config.json's ``model_type`` gives it."""

    name: str
    tensor_parallel: bool = False  # AutoTP shards it rightly: proof engine/logits-of-families
    kernel: bool = False  # the CPU kernel runs it: proof engine/kernel-same-bits
    mixture: bool = False  # routes tokens to experts
    # The layers that the kernel computes with the configuration's sliding_window: those of its layer types, or as said.
    windowed_layers: Literal["none", "every", "by type"] = "none"


FAMILIES = {
    family.name: family
    for family in (
        Family(name="llama", tensor_parallel=True, kernel=True),
        Family(name="mistral", tensor_parallel=True, kernel=True, windowed_layers="every"),
        Family(name="qwen2", tensor_parallel=True, kernel=True, windowed_layers="by type"),
        Family(name="qwen3", tensor_parallel=True, kernel=True, windowed_layers="by type"),
        Family(name="gemma2", tensor_parallel=True),
        Family(name="opt", tensor_parallel=True),
        Family(name="gpt_neox", tensor_parallel=True),
        Family(name="mixtral", tensor_parallel=True, mixture=True),
        Family(name="qwen2_moe", mixture=True),
        Family(name="qwen3_moe", mixture=True),
        Family(name="deepseek_v3", mixture=True),
        Family(name="gpt_oss", mixture=True),
        # Seen to be sharded wrongly.
        Family(name="gpt2"),
        Family(name="bloom"),
        Family(name="phi3"),
    )
}
TENSOR_PARALLEL_FAMILIES = tuple(family.name for family in FAMILIES.values() if family.tensor_parallel)
KERNEL_FAMILIES = tuple(family.name for family in FAMILIES.values() if family.kernel)


def family_of(config: Any) -> Family:
    """Return the family of a transformers configuration; of an unknown one, nothing is claimed."""
    name = str(config.model_type)
    return FAMILIES.get(name) or Family(name=name)


def is_mixture(config: Any) -> bool:
    """Say whether a model of this configuration routes tokens to experts."""
    experts = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    return family_of(config).mixture or bool(experts)


def check_family(config: Any, settings: EngineSettings) -> None:
    """Raise UnsupportedModel for what AutoTP shards wrongly, what can't share a step, and what can't be exact.

    ``config`` is the checkpoint's transformers configuration.
    """
    family = family_of(config)
    if settings.tp > 1 and not family.tensor_parallel:
        raise UnsupportedModel(
            f"tensor parallelism over {settings.tp} ranks isn't supported for the model family {family.name!r}: "
            f"use tp 1, or one of {', '.join(TENSOR_PARALLEL_FAMILIES)}"
        )
    if "longrope" in _rope_types(config):
        raise UnsupportedModel(
            f"the model family {family.name!r} turns positions by how long the step's longest sequence is "
            "(rope type longrope), so neighbours would change each other's tokens: it can't be served"
        )
    if "chunked_attention" in (getattr(config, "layer_types", None) or ()):
        raise UnsupportedModel(
            f"the model family {family.name!r} attends in chunks, which calmops doesn't compute: it can't be served"
        )
    if settings.exact and is_mixture(config):
        raise UnsupportedModel(
            f"exact can't be promised for the mixture of experts {family.name!r}, since its expert groups change size "
            "with the batch: set exact to false"
        )


def check_forward(model: Any) -> None:
    """Raise UnsupportedModel if the model's forward takes no positions: it would number a step's rows from 0."""
    parameters = inspect.signature(type(model).forward).parameters
    missing = [name for name in ("position_ids", "logits_to_keep") if name not in parameters]
    if missing:
        raise UnsupportedModel(
            f"{type(model).__name__} takes no {' and no '.join(missing)}: "
            "sequences can't share its steps, it can't be served"
        )


def check_every_layer(config: Any, layers: int) -> None:
    """Raise UnsupportedModel if a layer didn't reach our cache in FIRST_STEP. ``layers``: how many did."""
    if layers != int(config.num_hidden_layers):
        raise UnsupportedModel(
            f"the model family {config.model_type!r} doesn't attend through transformers' attention "
            f"interface ({layers} of {config.num_hidden_layers} layers did): it can't be served"
        )


def _rope_types(config: Any) -> set[str]:
    """Return the kinds of rotary embedding, of the whole model or of each kind of layer."""
    parameters = getattr(config, "rope_parameters", None) or {}
    by_layer_kind = [value for value in parameters.values() if isinstance(value, dict)]
    return {str(rope["rope_type"]) for rope in (parameters, *by_layer_kind) if "rope_type" in rope}
