"""This module takes percentiles of durations that were all kept, and quantiles of histograms. Pure."""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Percentiles(NamedTuple):
    """Holds percentiles in milliseconds; None where nothing was measured."""

    measured: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    max_ms: float | None


def percentiles(durations_ns: Sequence[int]) -> Percentiles:
    """Return the percentiles of durations in nanoseconds, by nearest rank: each is a duration that was measured."""
    ordered = sorted(durations_ns)

    def at(share: float) -> float | None:
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)] / 1e6 if ordered else None

    return Percentiles(len(ordered), at(0.5), at(0.9), at(0.99), at(1.0))


def quantile(edges: Sequence[float], buckets: Sequence[float], share: float) -> float | None:
    """Return the value below which ``share`` of a histogram's events lie; None without events.

    Within a bucket the events are taken to lie evenly. Beyond the last edge nothing is known: there the answer is that
    edge.
    """
    rank, below, low = share * sum(buckets), 0.0, 0.0
    for edge, count in zip(edges, buckets, strict=False):
        if count and below + count >= rank:
            return low + (edge - low) * (rank - below) / count
        below, low = below + count, edge
    return edges[-1] if edges and any(buckets) else None
