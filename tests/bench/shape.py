"""Writes the models that are timed: Llama shapes with random weights, as releases. Gives the shipped one's folder."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import calmops
from calmops.foundation.release import write_release

NAME = "llama-88m"
VOCABULARY = 8192
LARGE = "llama-500m"
LARGE_VOCABULARY = 151936
SPECIAL = ("<|begin|>", "<|end|>")
SHIPPED = "stdlib-5m"
SHIPPED_VOCABULARY = 4096


def shipped() -> Path:
    """Return the folder of the release in the wheel."""
    return Path(calmops.__file__).parent / "models" / SHIPPED


def write_llama_88m(folder: Path) -> Path:
    """Write the 88 M shape: hidden 768, 12 layers, 12 heads, 4 KV heads, vocabulary 8192. Return ``folder``."""
    return write_llama(folder, NAME, hidden=768, ffn=2048, layers=12, heads=12, kv_heads=4)


def write_llama_500m(folder: Path) -> Path:
    """Write Qwen2.5-0.5B's sizes as a Llama: hidden 896, 24 layers, 14 heads, 2 KV heads. Return ``folder``."""
    return write_llama(
        folder, LARGE, vocabulary=LARGE_VOCABULARY, hidden=896, ffn=4864, layers=24, heads=14, kv_heads=2
    )


def write_llama(
    folder: Path,
    name: str,
    *,
    vocabulary: int = VOCABULARY,
    hidden: int,
    ffn: int,
    layers: int,
    heads: int,
    kv_heads: int,
) -> Path:
    """Write a Llama of these sizes with random bfloat16 weights, embeddings not tied. Return ``folder``."""
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=ffn, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=2048, bos_token_id=0,
        eos_token_id=1, pad_token_id=1, tie_word_embeddings=False, dtype=torch.bfloat16,
    )  # fmt: skip
    return _save(transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16), folder, name)


def write_family(family: str, folder: Path) -> Path:
    """Write a small checkpoint of one of the kernel's families with random bfloat16 weights. Return ``folder``.

    Hidden 512, 6 layers, 8 heads, 2 KV heads.
    """
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    loader: Any = transformers.AutoConfig
    config = loader.for_model(
        family, vocab_size=VOCABULARY, hidden_size=512, intermediate_size=1536, num_hidden_layers=6,
        num_attention_heads=8, num_key_value_heads=2, head_dim=64, max_position_embeddings=2048, bos_token_id=0,
        eos_token_id=1, pad_token_id=1, tie_word_embeddings=False,
    )  # fmt: skip
    return _save(transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16), folder, family)


def _save(model: Any, folder: Path, name: str) -> Path:
    """Write model, tokenizer and release.json into ``folder``, and return it."""
    model.save_pretrained(folder)
    _write_tokenizer(folder)
    write_release(folder, name=name)
    return folder


def _write_tokenizer(folder: Path) -> None:
    """Write a tokenizer of two special tokens, the 256 bytes, and pairs of printable characters up to VOCABULARY.

    So nearly every token is text by itself, as in a trained vocabulary, and HTTP carries texts of the usual length.
    """
    printable = [chr(code) for code in range(0x21, 0x7F)]
    spellings = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    pairs = [(a, b) for a in printable for b in printable][: VOCABULARY - len(spellings)]
    spellings += [a + b for a, b in pairs]
    vocabulary = {spelling: token_id for token_id, spelling in enumerate(spellings)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        '{"eos_token": "<|end|>", "tokenizer_class": "PreTrainedTokenizerFast"}', encoding="utf-8"
    )
