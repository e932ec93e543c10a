"""Mirrors the C structures of kernel.cpp and sampler.h, field by field and in the same order. Knows no model."""

import ctypes
from ctypes import POINTER, Structure, c_float, c_int32, c_int64, c_uint64, c_void_p

import torch

REDUCE = ctypes.CFUNCTYPE(None, POINTER(c_float), c_int64, c_void_p)


class LayerWeights(Structure):
    """Points to one layer's packed weights; absent ones are null."""

    _fields_ = [
        *((name, c_void_p) for name in ("qkv", "out", "gate_up", "down")),
        *((f"{name}_scale", c_void_p) for name in ("qkv", "out", "gate_up", "down")),
        *((name, c_void_p) for name in ("qkv_bias", "out_bias", "norm", "ffn_norm", "query_norm", "key_norm")),
        ("window", c_int32),
    ]  # fmt: skip


class Shape(Structure):
    """Describes a model on one rank: sizes, weights, threads, and the sum over ranks."""

    _fields_ = [
        *((name, c_int32) for name in ("layers", "hidden", "heads", "kv_heads", "head_size", "ffn")),
        *((name, c_int32) for name in ("head_first", "head_width", "sum_logits", "vocabulary")),
        *((name, c_int32) for name in ("blocks", "max_rows", "max_context", "threads")),
        ("epsilon", c_float), ("scaling", c_float),
        ("cores", POINTER(c_int32)),
        ("weights", POINTER(LayerWeights)),
        *((name, c_void_p) for name in ("embedding", "lm_head", "lm_head_scale", "last_norm", "cosines", "sines")),
        ("reduce", REDUCE), ("context", c_void_p),
    ]  # fmt: skip


class Step(Structure):
    """Points to one forward pass: int32 arrays in, float32 logits out."""

    _fields_ = [
        *((name, c_int32) for name in ("rows", "table_width", "wanted_count")),
        *((name, c_void_p) for name in ("tokens", "positions", "rows_to_sequence", "tables", "wanted", "logits")),
    ]  # fmt: skip


class Draw(Structure):
    """Says how one sequence draws; see sampler.h."""

    _fields_ = [
        ("seed", c_uint64), ("choice", c_uint64),
        *((name, c_float) for name in ("temperature", "top_p", "min_p", "repetition", "presence", "frequency")),
        *((name, c_int32) for name in ("top_k", "alternatives")),
        *((name, c_void_p) for name in ("prompt", "answer", "bias_ids", "bias_values")),
        *((name, c_int32) for name in ("prompt_count", "answer_count", "bias_count")),
    ]  # fmt: skip


class Drawn(Structure):
    """Holds what one row drew."""

    _fields_ = [("token", c_int32), ("logprob", c_float)]


class Draws(Structure):
    """Points to one step's draws."""

    _fields_ = [
        *((name, c_int32) for name in ("count", "tokens_known", "most_alternatives")),
        *((name, c_void_p) for name in ("logits", "draws", "positions", "drawn", "top_ids", "top_logprobs")),
    ]  # fmt: skip


def pointer(tensor: torch.Tensor | None) -> int | None:
    """Return the address of a contiguous tensor's memory; None for None."""
    assert tensor is None or tensor.is_contiguous(), "the kernel reads contiguous memory"
    return None if tensor is None else tensor.data_ptr()
