"""Says which models the kernel runs, and gives a reason for each model that it doesn't run.

Which families it runs stands in ``engine/families.py``; here are the sizes and kinds of layers.
"""

from typing import Any

from calmops.engine.families import KERNEL_FAMILIES, family_of

ROPES = ("default", "linear", "llama3", "yarn")


def unsupported_reason(config: Any) -> str | None:
    """Say why the kernel can't run a checkpoint of this transformers configuration; None if it can."""
    family = family_of(config)
    if not family.kernel:
        return f"the model family {family.name!r} isn't one of {', '.join(KERNEL_FAMILIES)}"
    head = head_size(config)
    rope = (config.rope_parameters or {}).get("rope_type", "default")
    checks = (
        (config.hidden_act != "silu", f"its activation is {config.hidden_act!r}, not 'silu'"),
        (head % 16 or not 16 <= head <= 256, f"its head size is {head}, not a multiple of 16 from 16 to 256"),
        (config.hidden_size % 16, f"its hidden size {config.hidden_size} isn't a multiple of 16"),
        (rope not in ROPES, f"its rotary embedding is scaled by {rope!r}, not one of {', '.join(ROPES)}"),
        (getattr(config, "mlp_bias", False), "its feed-forward layers have biases"),
    )
    return next((reason for failed, reason in checks if failed), None)


def head_size(config: Any) -> int:
    """Return the number of entries of one attention head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def window_of(config: Any, layer: int) -> int:
    """Return how many keys a query of this layer sees, itself included; 0 for all."""
    window = getattr(config, "sliding_window", None)
    windowed_layers = family_of(config).windowed_layers
    if not window or windowed_layers == "none":
        return 0
    kinds = getattr(config, "layer_types", None)
    if windowed_layers == "by type" and (not kinds or kinds[layer] != "sliding_attention"):
        return 0
    return int(window)
