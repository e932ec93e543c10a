"""Sampling noise that has no state: a pure function of (seed, choice, answer position, vocabulary id).

So a token doesn't depend on the batch it is drawn in, nor on which replica draws it (guarantee G1).
Knows no logits. The hash is murmur3's 32-bit finaliser, twice, keyed by 64 mixed bits.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch

_WORD = (1 << 64) - 1
_HALF = (1 << 32) - 1
_CPU = torch.device("cpu")
_LARGEST = 1.0 - 2.0**-24  # the largest float32 below 1


def gumbel(places: Sequence[tuple[int, int, int]], vocabulary: int, device: torch.device = _CPU) -> torch.Tensor:
    """Standard Gumbel noise [n, V] float32 on ``device`` for n places (seed, choice, answer position), V vocabulary ids.

    argmax(logits / temperature + noise) then draws from softmax(logits / temperature).
    """
    keys = [_key(*place) for place in places]
    low = torch.tensor([[_signed(key & _HALF)] for key in keys], dtype=torch.int32).to(device)
    high = torch.tensor([[_signed(key >> 32)] for key in keys], dtype=torch.int32).to(device)
    bits = _finalise(_finalise(_spread(vocabulary, device) + low).bitwise_xor_(high))
    # 31 bits, small values exactly: the largest noise, which decides, comes from the smallest uniform.
    uniform = bits.bitwise_and_(0x7FFFFFFF).to(torch.float32).add_(0.5).mul_(2.0**-31).clamp_(max=_LARGEST)
    return uniform.neg_().log1p_().neg_().log_().neg_()


def _finalise(x: torch.Tensor) -> torch.Tensor:
    """murmur3's fmix32 on int32, whose products wrap; shifts are made logical by masks."""
    x = x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF)).mul_(_signed(0x85EBCA6B))
    x = x.bitwise_xor_((x >> 13).bitwise_and_(0x7FFFF)).mul_(_signed(0xC2B2AE35))
    return x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF))


@lru_cache(maxsize=4)
def _spread(vocabulary: int, device: torch.device) -> torch.Tensor:
    """[1, V] int32: ids times the golden ratio, far apart in the hash's input."""
    return (torch.arange(vocabulary, dtype=torch.int32, device=device) * _signed(0x9E3779B1))[None]


def _key(seed: int, choice: int, position: int) -> int:
    """64 bits of (seed, choice, position), mixed as splitmix64 does."""
    key = 0
    for part in (seed, choice, position):
        key = (key ^ (part & _WORD)) + 0x9E3779B97F4A7C15 & _WORD
        key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 & _WORD
        key = (key ^ key >> 27) * 0x94D049BB133111EB & _WORD
        key ^= key >> 31
    return key


def _signed(half: int) -> int:
    """An unsigned 32-bit value as the signed one of the same bits."""
    return half - (1 << 32) if half >> 31 else half
