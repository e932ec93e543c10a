"""The models that are timed: the 88 M Llama shape with random weights, written as a release, and the one that ships."""

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
    """The folder of the release in the wheel."""
    return Path(calmops.__file__).parent / "models" / SHIPPED


def write_llama_88m(folder: Path) -> Path:
    """Hidden 768, 12 layers, 12 heads, 4 KV heads, vocabulary 8192."""
    return write_llama(folder, NAME, hidden=768, ffn=2048, layers=12, heads=12, kv_heads=4)


def write_llama_500m(folder: Path) -> Path:
    """Qwen2.5-0.5B's sizes as a Llama: hidden 896, 24 layers, 14 heads, 2 KV heads."""
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
    """A Llama of these sizes with random bfloat16 weights, embeddings not tied."""
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=ffn, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, max_position_embeddings=2048, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        tie_word_embeddings=False, dtype=torch.bfloat16,
    )  # fmt: skip
    return _save(transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16), folder, name)


def write_family(family: str, folder: Path) -> Path:
    """A small checkpoint of one of the kernel's families, random bfloat16 weights: hidden 512, 6 layers, 8 heads, 2 KV heads."""
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    loader: Any = transformers.AutoConfig
    config = loader.for_model(
        family, vocab_size=VOCABULARY, hidden_size=512, intermediate_size=1536, num_hidden_layers=6, num_attention_heads=8,
        num_key_value_heads=2, head_dim=64, max_position_embeddings=2048, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        tie_word_embeddings=False,
    )  # fmt: skip
    return _save(transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16), folder, family)


def _save(model: Any, folder: Path, name: str) -> Path:
    """Model, tokenizer and release.json into ``folder``."""
    model.save_pretrained(folder)
    _write_tokenizer(folder)
    write_release(folder, name=name)
    return folder


def _write_tokenizer(folder: Path) -> None:
    """Two special tokens, the 256 bytes, and pairs of printable characters up to the vocabulary's size.

    So nearly every token is text on its own, as a trained vocabulary's are, and what HTTP carries has the usual length.
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
