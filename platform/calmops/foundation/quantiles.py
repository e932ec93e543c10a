"""Quantiles of a histogram that was only kept by its buckets."""

from collections.abc import Sequence


def quantile(edges: Sequence[float], buckets: Sequence[float], share: float) -> float | None:
    """The value below which ``share`` of the events lie, straight lines within buckets; None without events.

    Beyond the last edge nothing is known: then it is that edge.
    """
    rank, below, low = share * sum(buckets), 0.0, 0.0
    for edge, count in zip(edges, buckets, strict=False):
        if count and below + count >= rank:
            return low + (edge - low) * (rank - below) / count
        below, low = below + count, edge
    return edges[-1] if edges and any(buckets) else None
