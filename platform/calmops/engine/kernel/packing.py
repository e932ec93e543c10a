"""Packs a sharded model's matrices in the kernel's order (lanes.h): one block is 16 outputs wide, k goes in pairs.

Each matrix is packed once and its original freed, so that a model never lies in memory twice. Knows no layer.
"""

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

LANES = 16
UNIT = 64  # outputs: four blocks


@dataclass(frozen=True, slots=True)
class Packed:
    """Holds one matrix as the kernel reads it. ``scale`` [outputs] float32 for int8, else None."""

    data: torch.Tensor
    scale: torch.Tensor | None
    bias: torch.Tensor | None  # [outputs] float32


def pack_matrix(weight: torch.Tensor, weights: str, bias: torch.Tensor | None = None) -> Packed:
    """Pack a weight [outputs, k]; outputs are padded with zeros to a multiple of 64, k to an even number.

    ``weights``: "float32", "bfloat16", or "int8", with one scale per output, so that its largest weight becomes 127.
    """
    weight = functional.pad(weight.detach(), (0, weight.shape[1] % 2, 0, -weight.shape[0] % UNIT))
    scale = None
    if weights == "int8":
        largest = functional.pad(weight.float().abs(), (0, 1)).amax(dim=1, keepdim=True)  # a shard may have no k at all
        scale = (largest / 127).clamp_(min=torch.finfo(torch.float32).tiny)
        weight = (weight.float() / scale).round_().to(torch.int8)
        scale = scale[:, 0].contiguous()
    blocks = weight.view(weight.shape[0] // LANES, LANES, weight.shape[1] // 2, 2)
    order = (0, 2, 1, 3) if weights == "bfloat16" else (0, 2, 3, 1)
    padded = None if bias is None else functional.pad(bias.detach().float(), (0, weight.shape[0] - bias.shape[0]))
    return Packed(blocks.permute(*order).contiguous(), scale, padded)


def joined(modules: list[Any]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Join linear modules into one: weights [all outputs, k], and biases if they have them. Frees the originals."""
    weight = torch.cat([module.weight.detach() for module in modules])
    biases = [module.bias for module in modules]
    bias = None if biases[0] is None else torch.cat([part.detach() for part in biases])
    for module in modules:
        free(module)
    return weight, bias


def interleaved(gate: Any, up: Any) -> torch.Tensor:
    """Interleave gate and up [ffn, k] by blocks of 16 outputs, ffn padded to a multiple of 32. Frees the originals."""
    rows = gate.weight.shape[0]
    both = [
        functional.pad(module.weight.detach(), (0, 0, 0, -rows % (2 * LANES))).view(-1, LANES, module.weight.shape[1])
        for module in (gate, up)
    ]
    free(gate)
    free(up)
    return torch.stack(both, dim=1).flatten(0, 2)


def padded_ffn(rows: int) -> int:
    """Return the ffn that ``interleaved`` gives for ``rows`` rows: the next multiple of 32."""
    return rows + -rows % (2 * LANES)


def free(module: Any) -> None:
    """Release a module's weight; the module can't be called any more."""
    module.weight = torch.nn.Parameter(torch.empty(0, dtype=module.weight.dtype), requires_grad=False)


def return_freed_memory() -> None:
    """Hand the pages of freed originals to the system; else glibc keeps them (100 MiB of an 88 M model)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
