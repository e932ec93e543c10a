"""The yardstick: an interpolated, modified Kneser-Ney n-gram model over the same tokens as ours.

After Chen and Goodman, "An empirical study of smoothing techniques for language modeling" (1998), section 3.
An n-gram is packed into one integer, so that counting is sorting and looking up is bisection. Pure numpy.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.int64]
Floats = NDArray[np.float64]
MAX_KEY_BITS = 62


class _Order(NamedTuple):
    """All n-grams of one order, sorted by key, and all their contexts, sorted by key."""

    keys: Keys
    counts: Keys
    discounts: Floats  # by min(count, 3); the first is 0
    contexts: Keys
    totals: Floats
    backoffs: Floats


class KneserNey:
    """An n-gram model. A document is its token ids, the first one being the begin token, which is never predicted."""

    def __init__(self, documents: Sequence[Sequence[int]], *, order: int, vocabulary: int) -> None:
        """Count ``documents``; ids lie in [0, vocabulary). Needs order * bits(vocabulary) <= MAX_KEY_BITS."""
        self._bits = max(1, (vocabulary - 1).bit_length())
        assert order * self._bits <= MAX_KEY_BITS, f"{order} tokens of {self._bits} bits exceed {MAX_KEY_BITS} bits"
        self._order = order
        self._vocabulary = vocabulary
        keys, counts = np.unique(np.concatenate([self._packed(document) for document in documents]), return_counts=True)
        orders = [self._one_order(keys, counts)]
        for length in range(order - 1, 0, -1):
            # A shorter n-gram counts the distinct tokens seen before it, not its occurrences.
            keys, counts = np.unique(keys & self._mask(length), return_counts=True)
            orders.append(self._one_order(keys, counts))
        self._orders = orders[::-1]

    def log2_probabilities(self, document: Sequence[int]) -> Floats:
        """log2 P of every token of ``document`` after its first, given what precedes it: float64 [len - 1]."""
        packed = self._packed(document)
        probability = np.full(len(packed), 1.0 / self._vocabulary)
        for length, table in enumerate(self._orders, start=1):
            keys = packed & self._mask(length)
            places, seen = _find(table.keys, keys)
            counts = np.where(seen, table.counts[places], 0)
            places, known = _find(table.contexts, keys >> self._bits)
            share = np.maximum(counts - table.discounts[np.minimum(counts, 3)], 0.0) / table.totals[places]
            probability = np.where(known, share + table.backoffs[places] * probability, probability)
        return np.log2(probability)

    def _packed(self, document: Sequence[int]) -> Keys:
        """One key a predicted token: it and the order - 1 ids before it; begin repeats before the document."""
        ids = np.asarray(document, dtype=np.int64)
        ids = np.concatenate([np.full(self._order - 2, ids[0]), ids]) if self._order > 1 else ids[1:]
        keys = np.zeros(len(ids) - self._order + 1, dtype=np.int64)
        for back in range(self._order):
            keys = (keys << self._bits) | ids[back : back + len(keys)]
        return keys

    def _mask(self, length: int) -> int:
        return (1 << (length * self._bits)) - 1

    def _one_order(self, keys: Keys, counts: Keys) -> _Order:
        discounts = _discounts(counts)
        contexts, inverse = np.unique(keys >> self._bits, return_inverse=True)
        totals = np.bincount(inverse, weights=counts)
        kept_back = np.bincount(inverse, weights=discounts[np.minimum(counts, 3)]).astype(np.float64)
        return _Order(keys, counts, discounts, contexts, totals.astype(np.float64), kept_back / totals)


def _discounts(counts: Keys) -> Floats:
    """What is taken from counts of 0, 1, 2 and 3 or more. Where a corpus is too small to estimate it: a half."""
    n1, n2, n3, n4 = (int(np.count_nonzero(counts == n)) for n in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return np.array([0.0, 0.5, 0.5, 0.5])
    y = n1 / (n1 + 2 * n2)
    estimates = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return np.array([0.0, *(min(max(d, 0.05), n) for n, d in zip((0.95, 1.95, 2.95), estimates, strict=True))])


def _find(table: Keys, keys: Keys) -> tuple[Keys, NDArray[np.bool_]]:
    """Where each key stands in the sorted ``table``, and whether it does; a missing one gets a valid place too."""
    places = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return places, table[places] == keys
