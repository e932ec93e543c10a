"""Moves saved counts to this release's bucket edges, when the meter loads a state with other edges. No count is lost.

Bucket edges are saved with the counts. A count moves to the smallest new edge that isn't below its old one. So it may
look slower than it was, by at most one bucket of the new edges, and never quicker. Where all old edges are among the
new ones, every count keeps its edge.
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
# The fields of ModelCounts and of ShardCounts that are histograms, and their kinds.
_MODEL = {
    "prompts": "prompt_tokens", "answers": "prompt_tokens", "longest": "prompt_tokens", "duration": "duration",
    "queued": "duration", "prefilling": "duration", "decoding": "duration", "per_output_token": "per_output_token",
    "gap_engine": "inter_token",
}  # fmt: skip
_SHARD = {"ttft": "ttft", "gap_gateway": "inter_token", "duration": "step", "rows": "batch_rows"}

MS = 1_000_000
_INTER_TOKEN_MS_0_1 = (
    10, 25, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1000, 2500, 5000, 7500, 10_000, 20_000, 40_000, 80_000,
)  # fmt: skip
# The edges of release 0.1, whose states don't hold their edges.
EDGES_0_1: Edges = {
    "ttft": tuple(ms * MS for ms in (1, 5, 10, 20, 40, 60, 80, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10_000)),
    "duration": tuple(10 * MS << power for power in range(14)),
    "inter_token": tuple(ms * MS for ms in _INTER_TOKEN_MS_0_1),
    "per_output_token": tuple(ms * MS for ms in (10, 25, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1000, 2500)),
    "step": (MS, 2_500_000, *(ms * MS for ms in (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000))),
    "batch_rows": tuple(1 << power for power in range(12)),
    "prompt_tokens": tuple(16 << power for power in range(14)),
}


def move_to_edges(counts: Counts, edges: Edges = EDGES) -> list[str]:
    """Move every histogram in place to these edges from those that it was saved with; return the kinds that moved."""
    saved = {kind: tuple(values) for kind, values in counts.edges.items()} or EDGES_0_1
    changed = [kind for kind in edges if saved.get(kind, edges[kind]) != edges[kind]]
    if changed:
        for model in (*counts.models.values(), *(retired.model for retired in counts.retired.values())):
            _move(model, _MODEL, saved, edges, changed)
        for by_number in (*counts.shards.values(), *(retired.shards for retired in counts.retired.values())):
            for shard in by_number.values():
                _move(shard, _SHARD, saved, edges, changed)
    counts.edges = {kind: list(values) for kind, values in edges.items()}
    return changed


def _move(
    counts: ModelCounts | ShardCounts, kinds: Mapping[str, str], old: Edges, new: Edges, changed: list[str]
) -> None:
    for field, kind in kinds.items():
        if kind in changed:
            setattr(counts, field, _with_edges(getattr(counts, field), old[kind], new[kind]))


def _with_edges(histogram: Histogram, old: tuple[int, ...], new: tuple[int, ...]) -> Histogram:
    """Return the histogram with each count at the smallest new edge that isn't below its old one; the sum stays."""
    result = empty(new)
    for number, count in enumerate(histogram.buckets):
        bucket = bisect_left(new, old[number]) if number < len(old) else len(new)
        result.buckets[bucket] += count
    result.total, result.wholes = histogram.total, histogram.wholes
    return result
