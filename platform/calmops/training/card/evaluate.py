"""An evaluation measures how well a model predicts unseen text, in bits per byte, so that tokenizers don't matter.

Every token after a file's begin counts, the end token included; the bytes are the file's own.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from calmops.training.card.kneser_ney import KneserNey


class CausalModel(Protocol):
    """Takes token ids, int64 [1, T], and returns an object with ``logits`` [1, T, V]."""

    def __call__(self, input_ids: torch.Tensor) -> "Prediction": ...


class Prediction(Protocol):
    """Holds a model's logits, float [1, T, V]."""

    @property
    def logits(self) -> torch.Tensor: ...


def model_bits(model: CausalModel, ids: Sequence[int], *, window: int) -> float:
    """Return the bits that ``model`` needs for ids[1:], given ids[0].

    Windows overlap by half: after the first window every token is predicted from at least ``window`` / 2 others.
    """
    stride = window // 2
    bits = 0.0
    scored = 1
    start = 0
    while scored < len(ids):
        piece = torch.tensor([ids[start : start + window]])
        with torch.inference_mode():
            logits = model(input_ids=piece).logits[0, :-1].float()
        nats = torch.nn.functional.cross_entropy(logits, piece[0, 1:], reduction="none")
        bits += float(nats[scored - start - 1 :].double().sum()) / torch.log(torch.tensor(2.0)).item()
        scored = start + piece.shape[1]
        start += stride
    return bits


def bits_per_byte(
    bits_of: Callable[[Sequence[int]], float], encoded: Sequence[Sequence[int]], texts: Sequence[str]
) -> float:
    """Return total bits over total UTF-8 bytes; ``encoded[i]`` are the token ids of ``texts[i]``."""
    total_bytes = sum(len(text.encode()) for text in texts)
    return sum(bits_of(ids) for ids in encoded) / total_bytes


def kneser_ney_bits(ngrams: KneserNey, ids: Sequence[int]) -> float:
    """Return the bits that the n-gram model needs for ids[1:]."""
    return float(-ngrams.log2_probabilities(ids).sum())
