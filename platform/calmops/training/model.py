"""The models that we train are small Llamas with tied embeddings and heads of 64 channels.

This module knows transformers' LlamaConfig, and nothing of data, optimizers or DeepSpeed.
"""

from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from calmops.foundation.errors import UnsupportedModel
from calmops.training.data.tokenizer import SMALLEST_VOCABULARY

HEAD_SIZE = 64  # channels


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Holds a model's sizes: ``hidden`` and ``intermediate`` in channels, ``context`` and ``vocabulary`` in tokens."""

    vocabulary: int = 4096
    hidden: int = 256
    intermediate: int = 640
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    context: int = 1024

    def __post_init__(self) -> None:
        if self.hidden != self.heads * HEAD_SIZE:
            raise UnsupportedModel(
                f"hidden is {self.hidden}, but {self.heads} heads of {HEAD_SIZE} make {self.heads * HEAD_SIZE}"
            )
        if self.kv_heads % 2 or self.heads % self.kv_heads:
            raise UnsupportedModel(f"kv_heads must be even and divide heads ({self.heads}), not {self.kv_heads}")
        if self.context < 1024:
            raise UnsupportedModel(f"context must be at least 1024 tokens, not {self.context}")
        if self.vocabulary < SMALLEST_VOCABULARY:
            raise UnsupportedModel(f"vocabulary must be at least {SMALLEST_VOCABULARY}, not {self.vocabulary}")


def llama_config(shape: Shape) -> LlamaConfig:
    """Return the transformers configuration of ``shape``; begin is token 0, end is token 1, as in tokenizer.py."""
    return LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=HEAD_SIZE,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        rms_norm_eps=1e-5,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        use_cache=False,
    )


def new_model(shape: Shape, seed: int) -> LlamaForCausalLM:
    """Return a new fp32 model with random weights on the CPU; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(llama_config(shape))


def parameter_count(model: torch.nn.Module) -> int:
    """Return the number of trained scalars; tied ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())
