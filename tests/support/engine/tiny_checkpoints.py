"""Writes tiny random checkpoints of each family, with a byte-level BPE tokenizer, a chat template and release.json."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from calmops.engine.families import FAMILIES
from calmops.foundation.release import write_release

VOCABULARY = 320
END = "<|end|>"
CONTEXT_TOKENS = 2048
CHAT_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
TEXTS = (
    "def load(path):\n    return open(path).read()\n",
    "the quick brown fox jumps over the lazy dog",
    "naïve café",
)
_COMMON = {
    "vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT_TOKENS, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
_GATED = {"intermediate_size": 96, "num_key_value_heads": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {**_COMMON, **_GATED, "tie_word_embeddings": True},
    "mistral": {**_COMMON, **_GATED, "sliding_window": 24},
    "qwen2": {**_COMMON, **_GATED},
    "qwen3": {**_COMMON, **_GATED, "head_dim": 16},
    "gemma2": {**_COMMON, **_GATED, "head_dim": 16, "sliding_window": 24, "query_pre_attn_scalar": 16},
    "opt": {**_COMMON, "ffn_dim": 96, "word_embed_proj_dim": 64, "dropout": 0.0},
    "gpt_neox": {**_COMMON, "intermediate_size": 96},
    "mixtral": {**_COMMON, **_GATED, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    "gpt2": {
        "vocab_size": VOCABULARY, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": CONTEXT_TOKENS,
        "bos_token_id": 0, "eos_token_id": 2,
    },
    "bloom": {"vocab_size": VOCABULARY, "hidden_size": 64, "n_layer": 3, "n_head": 4, "eos_token_id": 2},
    "phi3": {**_COMMON, **_GATED},
}  # fmt: skip
# The families that run sharded and exact, which a mixture of experts doesn't.
DENSE_FAMILIES = tuple(name for name in CONFIGS if FAMILIES[name].tensor_parallel and not FAMILIES[name].mixture)


def make_checkpoint(folder: Path, family: str, *, seed: int = 0) -> Path:
    """Write a random checkpoint of ``family`` (float32) into ``folder`` and pin it; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(family, **CONFIGS[family])
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        # Random weights of the usual scale would give the same token over and over.
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3.0)
    model.save_pretrained(folder)
    make_tokenizer(folder)
    write_release(folder, name=f"tiny-{family}")
    return folder


def make_tokenizer(folder: Path) -> Tokenizer:
    """Write a byte-level BPE tokenizer of VOCABULARY ids: 3 special ones, 256 bytes, a few merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<|pad|>", "<|start|>", END], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), min_frequency=1,
    )  # fmt: skip
    tokenizer.train_from_iterator(TEXTS * 2, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    (folder / "tokenizer_config.json").write_text(
        '{"eos_token": "<|end|>", "tokenizer_class": "PreTrainedTokenizerFast"}'
    )
    return tokenizer
