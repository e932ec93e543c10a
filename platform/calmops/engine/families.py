"""Which model families run, and how far: the refusals that come before any weight is read."""

import inspect
from typing import Any

from calmops.engine.settings import EngineSettings
from calmops.foundation.errors import UnsupportedModel
from calmops.messages.plan import StepPlan

SHARDED = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "opt", "gpt_neox", "mixtral")
MIXTURES = ("mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v3", "gpt_oss")
# Two rows into the first block: the cache takes its shapes from them.
FIRST_STEP = StepPlan(
    step=0, tokens=(0, 0), positions=(0, 1), rows_to_sequence=(0, 0), block_tables=((0,),), wanted_rows=(1,)
)


def check_family(config: Any, settings: EngineSettings) -> None:
    """Refuse, in one sentence, what DeepSpeed's AutoTP shards wrongly and what can't be exact.

    ``config`` is the checkpoint's transformers configuration. Raises UnsupportedModel.
    """
    family = str(config.model_type)
    if settings.tp > 1 and family not in SHARDED:
        raise UnsupportedModel(
            f"tensor parallelism over {settings.tp} ranks isn't supported for the model family {family!r}: "
            f"use tp 1, or one of {', '.join(SHARDED)}"
        )
    if "longrope" in _rope_types(config):
        raise UnsupportedModel(
            f"the model family {family!r} turns positions by how long the step's longest sequence is (rope type longrope), "
            "so neighbours would change each other's tokens: it can't be served"
        )
    if "chunked_attention" in (getattr(config, "layer_types", None) or ()):
        raise UnsupportedModel(
            f"the model family {family!r} attends in chunks, which calmops doesn't compute: it can't be served"
        )
    if settings.exact and is_mixture(config):
        raise UnsupportedModel(
            f"exact can't be promised for the mixture of experts {family!r}, since its expert groups change size "
            "with the batch: set exact to false"
        )


def check_forward(model: Any) -> None:
    """Refuse a model whose forward takes no positions of ours: it would number a step's rows from 0. Raises UnsupportedModel."""
    taken = inspect.signature(type(model).forward).parameters
    missing = [name for name in ("position_ids", "logits_to_keep") if name not in taken]
    if missing:
        raise UnsupportedModel(
            f"{type(model).__name__} takes no {' and no '.join(missing)}: sequences can't share its steps, it can't be served"
        )


def check_every_layer(config: Any, layers: int) -> None:
    """Refuse a model of which FIRST_STEP didn't bring every layer to our cache. ``layers``: how many. Raises UnsupportedModel."""
    if layers != int(config.num_hidden_layers):
        raise UnsupportedModel(
            f"the model family {config.model_type!r} doesn't attend through transformers' attention "
            f"interface ({layers} of {config.num_hidden_layers} layers did): it can't be served"
        )


def _rope_types(config: Any) -> set[str]:
    """The kinds of rotary embedding, of the model or of its kinds of layers."""
    told = getattr(config, "rope_parameters", None) or {}
    each = [told, *(one for one in told.values() if isinstance(one, dict))]
    return {str(one["rope_type"]) for one in each if "rope_type" in one}


def is_mixture(config: Any) -> bool:
    """Whether tokens are routed to experts."""
    experts = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    return str(config.model_type) in MIXTURES or bool(experts)
