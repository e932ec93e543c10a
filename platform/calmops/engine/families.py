"""Which model families run, and how far: the refusals that come before any weight is read."""

from typing import Any

from calmops.engine.settings import EngineSettings
from calmops.foundation.errors import UnsupportedModel

SHARDED = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "opt", "gpt_neox", "mixtral")
MIXTURES = ("mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v3", "gpt_oss")


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
    if settings.exact and is_mixture(config):
        raise UnsupportedModel(
            f"exact can't be promised for the mixture of experts {family!r}, since its expert groups change size "
            "with the batch: set exact to false"
        )


def is_mixture(config: Any) -> bool:
    """Whether tokens are routed to experts."""
    experts = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    return str(config.model_type) in MIXTURES or bool(experts)
