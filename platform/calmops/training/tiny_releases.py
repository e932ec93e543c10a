"""Random releases of a few megabytes, made in a second: weights mean nothing, formats are real.

For tests and first trials of everything that loads a release.
"""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from calmops.foundation.errors import UnsupportedModel
from calmops.training.data.tokenizer import train_tokenizer
from calmops.training.export import export_release

TEXTS = (
    "def add(left, right):\n    return left + right\n",
    "The quick brown fox jumps over the lazy dog.\n",
    "for index in range(10):\n    print(index, 'naïve café 東京 🙂')\n",
    "class Frame:\n    tokens: list[int]\n    step: int\n",
)
VOCABULARY = 320
SIZES = {
    "hidden_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 256,
    "max_position_embeddings": 1024,
}
GQA = {**SIZES, "head_dim": 64}
FAMILIES: dict[str, dict[str, object]] = {
    "llama": {**GQA, "tie_word_embeddings": True},
    "mistral": {**GQA, "sliding_window": None},
    "qwen2": dict(SIZES),
    "qwen3": dict(GQA),
    "gemma2": {**GQA, "sliding_window": 64, "query_pre_attn_scalar": 64},
    "opt": {**SIZES, "ffn_dim": 256, "word_embed_proj_dim": 256},
    "gpt_neox": dict(SIZES),
    "mixtral": {**GQA, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    "gpt2": {"n_embd": 256, "n_layer": 2, "n_head": 4, "n_positions": 1024},
    "bloom": {"hidden_size": 256, "n_layer": 2, "n_head": 4},
    "phi3": dict(SIZES),
}


def random_release(folder: Path, family: str = "llama", *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """Write a complete random release of ``family`` (a key of FAMILIES) into ``folder`` and return it.

    Vocabulary at most VOCABULARY, 2 layers, context 1024; the same seed gives the same files.
    """
    if family not in FAMILIES:
        raise UnsupportedModel(f"no tiny {family!r}; there are {', '.join(FAMILIES)}")
    folder = Path(folder)
    tokenizer = train_tokenizer(TEXTS, VOCABULARY)
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = AutoConfig.for_model(family, vocab_size=tokenizer.get_vocab_size(), **FAMILIES[family], **ids)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    export_release(model, tokenizer, folder, dtype=dtype)
    return folder
