"""Percentiles of measured durations, by nearest rank: every figure printed is one that was seen. Pure."""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """Percentiles in milliseconds; None where nothing was measured."""

    measured: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    max_ms: float | None


def spread(durations_ns: Sequence[int]) -> Spread:
    """The spread of durations given in nanoseconds."""
    ordered = sorted(durations_ns)

    def at(share: float) -> float | None:
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)] / 1e6 if ordered else None

    return Spread(len(ordered), at(0.5), at(0.9), at(0.99), at(1.0))
