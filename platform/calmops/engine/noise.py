"""Computes the sampling noise, a pure function of (seed, choice, answer position, vocabulary id), for whole batches.

So a token depends neither on the batch that it is drawn in nor on which replica draws it (guarantee G1). The hash is
murmur3's 32-bit finaliser, twice, keyed by 64 mixed bits; sampler_specification.py has it in plain Python. Knows no
logits.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch

_WORD = (1 << 64) - 1
_HALF = (1 << 32) - 1
_CPU = torch.device("cpu")
_LARGEST = 1.0 - 2.0**-24  # the largest float32 below 1


def gumbel(coordinates: Sequence[tuple[int, int, int]], vocabulary: int, device: torch.device = _CPU) -> torch.Tensor:
    """Return standard Gumbel noise [n, V] float32 on ``device`` for n coordinates and V vocabulary ids.

    A coordinate is (seed, choice, answer position). argmax(logits / temperature + noise) then draws from
    softmax(logits / temperature).
    """
    keys = [_key(*coordinate) for coordinate in coordinates]
    low = torch.tensor([[_signed(key & _HALF)] for key in keys], dtype=torch.int32).to(device)
    high = torch.tensor([[_signed(key >> 32)] for key in keys], dtype=torch.int32).to(device)
    bits = _finalise(_finalise(_spread(vocabulary, device) + low).bitwise_xor_(high))
    # 31 bits, small values exactly: the largest noise, which decides, comes from the smallest uniform.
    uniform = bits.bitwise_and_(0x7FFFFFFF).to(torch.float32).add_(0.5).mul_(2.0**-31).clamp_(max=_LARGEST)
    return uniform.neg_().log1p_().neg_().log_().neg_()


def _finalise(x: torch.Tensor) -> torch.Tensor:
    """Return murmur3's fmix32 of int32 values, whose products wrap; masks make the shifts logical."""
    x = x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF)).mul_(_signed(0x85EBCA6B))
    x = x.bitwise_xor_((x >> 13).bitwise_and_(0x7FFFF)).mul_(_signed(0xC2B2AE35))
    return x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF))


@lru_cache(maxsize=4)
def _spread(vocabulary: int, device: torch.device) -> torch.Tensor:
    """Return the ids times the golden ratio, [1, V] int32, which lie far apart in the hash's input."""
    return (torch.arange(vocabulary, dtype=torch.int32, device=device) * _signed(0x9E3779B1))[None]


def _key(seed: int, choice: int, position: int) -> int:
    """Mix (seed, choice, position) into 64 bits as splitmix64 does."""
    key = 0
    for part in (seed, choice, position):
        key = (key ^ (part & _WORD)) + 0x9E3779B97F4A7C15 & _WORD
        key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 & _WORD
        key = (key ^ key >> 27) * 0x94D049BB133111EB & _WORD
        key ^= key >> 31
    return key


def _signed(half: int) -> int:
    """Return the signed 32-bit value that has the bits of an unsigned one."""
    return half - (1 << 32) if half >> 31 else half
