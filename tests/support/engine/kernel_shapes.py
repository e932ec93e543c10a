"""Makes random small models of the families that the kernel runs, so that no size is a lucky one."""

import random
from pathlib import Path
from typing import Any

import torch
import transformers

from calmops.engine.families import KERNEL_FAMILIES
from calmops.foundation.release import write_release
from tests.support.engine.tiny_checkpoints import make_tokenizer

VOCABULARY = 320


def random_config(rng: random.Random, family: str) -> dict[str, Any]:
    """Return sizes that few numbers divide: groups of heads, an odd feed-forward width, windows, scaled positions."""
    kv_heads, per_kv, head = rng.randint(1, 3), rng.randint(1, 4), rng.choice((16, 32, 64, 128))
    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY, "hidden_size": 16 * kv_heads * per_kv * rng.randint(1, 3),
        "num_hidden_layers": rng.randint(1, 3),
        "num_attention_heads": kv_heads * per_kv, "num_key_value_heads": kv_heads, "head_dim": head,
        "intermediate_size": rng.randint(20, 150), "max_position_embeddings": 512, "bos_token_id": 0, "eos_token_id": 2,
        "pad_token_id": 0, "tie_word_embeddings": rng.random() < 0.5,
    }  # fmt: skip
    if family == "mistral":
        sizes["sliding_window"] = rng.choice((None, 7, 24, 64))
    if family in {"qwen2", "qwen3"} and rng.random() < 0.5:
        sizes |= {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 1}
    if family == "qwen2":  # whose head size follows from its width
        sizes["hidden_size"] = sizes["num_attention_heads"] * sizes.pop("head_dim")
    if family == "llama":
        sizes["attention_bias"] = rng.random() < 0.3
        if rng.random() < 0.5:
            sizes["rope_parameters"] = rng.choice(ROPES)
    return sizes


ROPES: tuple[dict[str, Any], ...] = (
    {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4},
    {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 128},
    {
        "rope_type": "llama3", "factor": 8.0, "rope_theta": 5e5, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
)  # fmt: skip


def random_checkpoint(folder: Path, seed: int) -> Path:
    """Write a checkpoint of random shape and weights, biases and norms included, as a pinned release."""
    rng = random.Random(seed)
    family = KERNEL_FAMILIES[seed % len(KERNEL_FAMILIES)]
    torch.manual_seed(seed)
    transformers.utils.logging.disable_progress_bar()
    config = transformers.AutoConfig.for_model(family, **random_config(rng, family))
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0) if parameter.dim() > 1 else parameter.add_(torch.randn_like(parameter) * 0.1)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    make_tokenizer(folder)
    write_release(folder, name=f"random-{family}-{seed}")
    return folder
