#!/usr/bin/env python3
"""Converts a Llama release (config.json, model.safetensors, byte-level tokenizer.json) to one GGUF file in bfloat16.

llama.cpp rotates neighbouring pairs where the checkpoint rotates halves of a head, so the rows of q and k are
reordered; nothing else about the weights changes. Norms are written as float32, which llama.cpp wants.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

gguf: Any = importlib.import_module("gguf")  # installed by the extra `bench`, which `make check` doesn't need
LAYER = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip
OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def convert(release: Path, target: Path) -> Path:
    """Write ``release`` as GGUF to ``target`` and return ``target``. Raises ValueError on other than llama releases."""
    config = json.loads((release / "config.json").read_text(encoding="utf-8"))
    if config["model_type"] != "llama":
        raise ValueError(f"{release}: only llama releases are converted, this is {config['model_type']}")
    writer = gguf.GGUFWriter(str(target), "llama")
    _describe(writer, config)
    _add_tokenizer(writer, release)
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    for name, tensor in load_file(release / "model.safetensors").items():
        gguf_name = _gguf_name(name.removesuffix(".weight"))
        rotated_heads = {"attn_q": heads, "attn_k": kv_heads}.get(gguf_name.rpartition(".")[2])
        _add(writer, f"{gguf_name}.weight", tensor if rotated_heads is None else _pair_rows(tensor, rotated_heads))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _describe(writer: Any, config: dict[str, Any]) -> None:
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    rope = config.get("rope_parameters") or {}
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10000.0)))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)


def _add_tokenizer(writer: Any, release: Path) -> None:
    parsed = json.loads((release / "tokenizer.json").read_text(encoding="utf-8"))
    config = json.loads((release / "config.json").read_text(encoding="utf-8"))
    vocabulary: dict[str, int] = dict(parsed["model"]["vocab"])
    special = {entry["content"]: entry["id"] for entry in parsed["added_tokens"]}
    by_id = {token_id: token for token, token_id in (vocabulary | special).items()}
    names = [by_id.get(token_id, f"<|unused-{token_id}|>") for token_id in range(config["vocab_size"])]
    control, normal = int(gguf.TokenType.CONTROL), int(gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(names)
    writer.add_token_types([control if name in special or name not in vocabulary else normal for name in names])
    merges = parsed["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])


def _gguf_name(name: str) -> str:
    if name in OUTER:
        return OUTER[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{LAYER[rest]}"


def _pair_rows(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Reorder rows [heads, 2, half, in] to [heads, half, 2, in], so that rotated halves become rotated neighbours."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns).contiguous()


def _add(writer: Any, name: str, tensor: torch.Tensor) -> None:
    if tensor.dim() == 1:
        writer.add_tensor(name, tensor.float().numpy())
        return
    raw = tensor.to(torch.bfloat16).contiguous().view(torch.uint8).numpy()
    writer.add_tensor(name, raw, raw_dtype=gguf.GGMLQuantizationType.BF16)


if __name__ == "__main__":
    print(convert(Path(sys.argv[1]), Path(sys.argv[2])))
