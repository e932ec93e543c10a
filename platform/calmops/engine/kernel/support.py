"""Which models the kernel runs: a reason for every one that it doesn't, never a wrong answer."""

from typing import Any

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
ROPES = ("default", "linear", "llama3", "yarn")


def why_not(config: Any) -> str | None:
    """Why the kernel can't run a checkpoint of this transformers configuration; None if it can."""
    family = str(config.model_type)
    if family not in FAMILIES:
        return f"the model family {family!r} isn't one of {', '.join(FAMILIES)}"
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
    """Entries of one attention head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def window_of(config: Any, layer: int) -> int:
    """Keys that a query of this layer sees, itself included; 0 for all."""
    window = getattr(config, "sliding_window", None)
    if not window or config.model_type == "llama":
        return 0
    kinds = getattr(config, "layer_types", None)
    if config.model_type.startswith("qwen") and (not kinds or kinds[layer] != "sliding_attention"):
        return 0
    return int(window)
