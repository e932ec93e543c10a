"""Bucket edges are saved with the counts. When a release has other edges, saved counts move to them and none is lost.

A count moves to the smallest new edge that isn't below its old one. So it may look slower than it was, by one bucket of the
new edges at most, and never quicker. Where all old edges are among the new ones, every count keeps its edge.
"""

from bisect import bisect_left
from collections.abc import Mapping

from calmops.telemetry.metering.counts import (
    BATCH_ROWS,
    DURATION_NS,
    INTER_TOKEN_NS,
    PER_OUTPUT_TOKEN_NS,
    PROMPT_TOKENS,
    STEP_NS,
    TTFT_NS,
    Counts,
    Histogram,
    ModelCounts,
    ShardCounts,
    empty,
)

Edges = Mapping[str, tuple[int, ...]]  # by kind of histogram, in the unit of its values

EDGES: Edges = {
    "ttft": TTFT_NS,
    "duration": DURATION_NS,
    "inter_token": INTER_TOKEN_NS,
    "per_output_token": PER_OUTPUT_TOKEN_NS,
    "step": STEP_NS,
    "batch_rows": BATCH_ROWS,
    "prompt_tokens": PROMPT_TOKENS,
}
_MODEL = {
    "prompts": "prompt_tokens", "answers": "prompt_tokens", "longest": "prompt_tokens", "duration": "duration",
    "queued": "duration", "prefilling": "duration", "decoding": "duration", "per_output_token": "per_output_token",
    "gap_engine": "inter_token",
}  # fmt: skip
_SHARD = {"ttft": "ttft", "gap_gateway": "inter_token", "duration": "step", "rows": "batch_rows"}

MS = 1_000_000
# Those of release 0.1, whose states don't say them.
EDGES_0_1: Edges = {
    "ttft": tuple(ms * MS for ms in (1, 5, 10, 20, 40, 60, 80, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10_000)),
    "duration": tuple(10 * MS << power for power in range(14)),
    "inter_token": tuple(
        ms * MS
        for ms in (10, 25, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1000, 2500, 5000, 7500, 10_000, 20_000, 40_000, 80_000)
    ),
    "per_output_token": tuple(ms * MS for ms in (10, 25, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1000, 2500)),
    "step": tuple(us * 1000 for us in (1000, 2500, 5000, *(ms * 1000 for ms in (10, 25, 50, 100, 250, 500, 1000, 2500, 5000)))),
    "batch_rows": tuple(1 << power for power in range(12)),
    "prompt_tokens": tuple(16 << power for power in range(14)),
}  # fmt: skip


def with_edges(counts: Counts, edges: Edges = EDGES) -> list[str]:
    """Move every histogram from the edges that ``counts`` were saved with to these, in place; return the kinds that moved."""
    saved = {kind: tuple(given) for kind, given in counts.edges.items()} or EDGES_0_1
    changed = [kind for kind in edges if saved.get(kind, edges[kind]) != edges[kind]]
    if changed:
        for model in (*counts.models.values(), *(rest.model for rest in counts.retired.values())):
            _move(model, _MODEL, saved, edges, changed)
        for by_number in (*counts.shards.values(), *(rest.shards for rest in counts.retired.values())):
            for shard in by_number.values():
                _move(shard, _SHARD, saved, edges, changed)
    counts.edges = {kind: list(values) for kind, values in edges.items()}
    return changed


def _move(
    counts: ModelCounts | ShardCounts, kinds: Mapping[str, str], old: Edges, new: Edges, changed: list[str]
) -> None:
    for field, kind in kinds.items():
        if kind in changed:
            setattr(counts, field, moved(getattr(counts, field), old[kind], new[kind]))


def moved(histogram: Histogram, old: tuple[int, ...], new: tuple[int, ...]) -> Histogram:
    """Return the histogram with each count at the smallest new edge that isn't below its old one; the sum stays."""
    result = empty(new)
    for number, count in enumerate(histogram.buckets):
        bucket = bisect_left(new, old[number]) if number < len(old) else len(new)
        result.buckets[bucket] += count
    result.total, result.wholes = histogram.total, histogram.wholes
    return result
