"""Turns a sharded transformers model into the kernel's ``Shape``, packing and freeing its weights layer by layer.

Knows how the modules of the kernel's families are named. Knows no step.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from calmops.engine.kernel.all_reduce import SharedMemoryAllReduce
from calmops.engine.kernel.packing import UNIT, Packed, free, interleaved, joined, pack_matrix, padded_ffn
from calmops.engine.kernel.structures import LayerWeights, Shape, pointer
from calmops.engine.kernel.support import head_size, window_of
from calmops.messages.plan import BLOCK_TOKENS

AllReduce = Callable[[torch.Tensor], None]  # sums a contiguous float32 tensor over the gang's ranks, in place


@dataclass(frozen=True, slots=True, kw_only=True)
class PackSettings:
    """Says how one rank's shard is packed and stepped."""

    weights: str  # "float32", "bfloat16" or "int8"
    kv_blocks: int  # cache, in blocks of 16 tokens
    max_rows: int  # token rows of a step at most
    threads: int = 1
    cores: tuple[int, ...] = ()  # one for each thread, the caller's first; empty: as the kernel schedules
    rank: int = 0
    tp: int = 1
    all_reduce: "AllReduce | SharedMemoryAllReduce | None" = None  # needed for tp > 1
    path: str | None = None  # a code path of build.PATHS; the best one if None


class ShapeBuilder:
    """Makes the structures, and keeps every tensor that they point to in ``kept``.

    All of these tensors are copies: one view of the checkpoint would keep its whole file mapped.
    """

    def __init__(self, model: Any, settings: PackSettings) -> None:
        self.kept: list[Any] = []
        self._model = model
        self._settings = settings
        self._config = model.config
        self._head_size = head_size(model.config)

    def shape(self) -> Shape:
        """Pack everything and return its structure. The model can't be called any more."""
        model, settings, config = self._model.model, self._settings, self._config
        first = model.layers[0]
        heads, kv_heads = (
            module.weight.shape[0] // self._head_size for module in (first.self_attn.q_proj, first.self_attn.k_proj)
        )
        ffn = padded_ffn(first.mlp.gate_proj.weight.shape[0])
        layers = (LayerWeights * len(model.layers))(*(self._layer(i, layer) for i, layer in enumerate(model.layers)))
        self.kept.append(layers)
        max_context = min(int(config.max_position_embeddings), settings.kv_blocks * BLOCK_TOKENS)
        cosines, sines = self._rotations(max_context)
        cores = (ctypes.c_int32 * len(settings.cores))(*settings.cores) if settings.cores else None
        self.kept.append(cores)
        lm_head, reads = self._lm_head()
        return Shape(
            layers=len(layers), hidden=config.hidden_size, heads=heads, kv_heads=kv_heads, head_size=self._head_size,
            ffn=ffn, **reads, vocabulary=config.vocab_size + -config.vocab_size % UNIT,
            blocks=settings.kv_blocks, max_rows=settings.max_rows, max_context=max_context, threads=settings.threads,
            epsilon=config.rms_norm_eps, scaling=first.self_attn.scaling, cores=cores, weights=layers,
            embedding=self._kept(model.embed_tokens.weight.detach().clone()),
            lm_head=self._kept(lm_head.data), lm_head_scale=self._kept(lm_head.scale), last_norm=self._norm(model.norm),
            cosines=cosines, sines=sines,
        )  # fmt: skip

    def _layer(self, number: int, layer: Any) -> LayerWeights:
        attention, mlp, weights = layer.self_attn, layer.mlp, self._settings.weights
        qkv = pack_matrix(*_arguments(joined([attention.q_proj, attention.k_proj, attention.v_proj]), weights))
        out_weight, out_bias = joined([attention.o_proj])
        matrices = {
            "qkv": qkv,
            # One rank's bias alone, since the sum over the ranks adds them all.
            "out": pack_matrix(out_weight, weights, out_bias if self._settings.rank == 0 else None),
            "gate_up": pack_matrix(interleaved(mlp.gate_proj, mlp.up_proj), weights),
            "down": pack_matrix(self._down(mlp), weights),
        }
        fields = {name: self._kept(matrix.data) for name, matrix in matrices.items()}
        scales = {f"{name}_scale": self._kept(matrix.scale) for name, matrix in matrices.items()}
        biases = {f"{name}_bias": self._kept(matrices[name].bias) for name in ("qkv", "out")}
        return LayerWeights(
            **fields,
            **scales,
            **biases,
            norm=self._norm(layer.input_layernorm),
            ffn_norm=self._norm(layer.post_attention_layernorm),
            query_norm=self._norm(getattr(attention, "q_norm", None)),
            key_norm=self._norm(getattr(attention, "k_norm", None)),
            window=window_of(self._config, number),
        )

    def _down(self, mlp: Any) -> torch.Tensor:
        """Return the down projection [hidden, ffn], with zeros where gate and up were padded."""
        weight, _ = joined([mlp.down_proj])
        return torch.nn.functional.pad(weight, (0, padded_ffn(weight.shape[1]) - weight.shape[1]))

    def _lm_head(self) -> tuple[Packed, dict[str, int]]:
        """Return the packed head, and which slice of the hidden state it reads.

        AutoTP cuts the head along its input, sometimes unevenly.
        """
        head = self._model.lm_head
        weight = head.weight.detach()
        sizes = getattr(head, "_partition_sizes", None)
        packed = pack_matrix(weight, self._settings.weights)
        if weight.data_ptr() != self._model.model.embed_tokens.weight.data_ptr():
            free(head)
        first = sum(sizes[: self._settings.rank]) if sizes else 0
        return packed, {"head_first": first, "head_width": weight.shape[1], "sum_logits": int(sizes is not None)}

    def _rotations(self, positions: int) -> tuple[int | None, int | None]:
        """Return cosines and sines [positions, head size / 2] float32, computed as transformers does."""
        rotary = self._model.model.rotary_emb
        angles = torch.arange(positions, dtype=torch.float32)[:, None] * rotary.inv_freq.float()[None]
        scale = float(rotary.attention_scaling)
        return self._kept((angles.cos() * scale).contiguous()), self._kept((angles.sin() * scale).contiguous())

    def _norm(self, module: Any) -> int | None:
        return None if module is None else self._kept(module.weight.detach().float().clone())

    def _kept(self, tensor: torch.Tensor | None) -> int | None:
        self.kept.append(tensor)
        return pointer(tensor)


def _arguments(weight_and_bias: tuple[torch.Tensor, torch.Tensor | None], weights: str) -> tuple[Any, ...]:
    weight, bias = weight_and_bias
    return weight, weights, bias
