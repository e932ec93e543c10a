"""An interpolated, modified Kneser-Ney n-gram model over the same tokens is the yardstick for our models.

It follows Chen and Goodman, "An empirical study of smoothing techniques for language modeling" (1998), section 3.
An n-gram is packed into one integer, so that counting is sorting and a look-up is a bisection. Pure numpy.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.int64]
Floats = NDArray[np.float64]
MAX_KEY_BITS = 62


class _Order(NamedTuple):
    """Holds all n-grams of one order, sorted by key, and all their contexts, sorted by key."""

    keys: Keys
    counts: Keys
    discounts: Floats  # indexed by min(count, 3); the first is 0
    contexts: Keys
    totals: Floats
    backoffs: Floats


class KneserNey:
    """Predicts tokens by n-grams. A document is its token ids; the first, the begin token, is never predicted."""

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
        """Return log2 P of every token of ``document`` after its first, given those before it: float64 [len - 1]."""
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
        """Return one key per predicted token: it and the order - 1 ids before it; begin repeats before the document."""
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
    """Return what is taken from counts of 0, 1, 2 and 3 or more: a half if the corpus is too small for estimates."""
    n1, n2, n3, n4 = (int(np.count_nonzero(counts == n)) for n in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return np.array([0.0, 0.5, 0.5, 0.5])
    y = n1 / (n1 + 2 * n2)
    estimates = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return np.array([0.0, *(min(max(d, 0.05), n) for n, d in zip((0.95, 1.95, 2.95), estimates, strict=True))])


def _find(table: Keys, keys: Keys) -> tuple[Keys, NDArray[np.bool_]]:
    """Return each key's place in the sorted ``table`` and whether it is there; a missing key gets a valid place too."""
    places = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return places, table[places] == keys
