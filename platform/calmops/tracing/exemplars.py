"""From a histogram to a trace: for each bucket of what requests felt, the newest kept trace that fell into it."""

from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple

from calmops.foundation.metric_names import (
    DURATION,
    DURATION_EDGES_S,
    INTER_TOKEN,
    INTER_TOKEN_EDGES_S,
    TTFT,
    TTFT_EDGES_S,
)
from calmops.foundation.model_labels import ModelLabels
from calmops.messages.record import REFUSED, Closed

MOST_MODELS = 1000  # with their labels; of further ones no trace is named
_EDGES_NS = {
    metric.name: tuple(round(edge * 1e9) for edge in edges)
    for metric, edges in ((TTFT, TTFT_EDGES_S), (DURATION, DURATION_EDGES_S), (INTER_TOKEN, INTER_TOKEN_EDGES_S))
}


class Exemplar(NamedTuple):
    """One request that a bucket counted."""

    trace_id: int
    value_ns: int
    at_ns: int  # wall clock


class Exemplars:
    """Owned by whoever guards it: noted on the meter's thread, read for each scrape."""

    def __init__(self) -> None:
        self._found: dict[ModelLabels, dict[str, dict[int, Exemplar]]] = {}

    def note(self, closed: Closed, trace_id: int, longest_gap_ns: int | None) -> None:
        """A kept trace's request ended; ``longest_gap_ns``: the longest between two of its tokens at the gateway.

        One that was refused after all is in no histogram.
        """
        if closed.outcome in REFUSED:
            return
        key = ModelLabels.of(closed.model, closed.labels)
        if key not in self._found and len(self._found) >= MOST_MODELS:
            return
        metrics = self._found.setdefault(key, {})
        for metric, value_ns in ((TTFT, closed.ttft_ns), (DURATION, closed.duration_ns), (INTER_TOKEN, longest_gap_ns)):
            if value_ns is not None:
                bucket = bisect_left(_EDGES_NS[metric.name], value_ns)
                metrics.setdefault(metric.name, {})[bucket] = Exemplar(trace_id, value_ns, closed.at_ns)

    def of(self, metric: str, key: tuple[str, ...]) -> Mapping[int, Exemplar]:
        """By bucket, the last one being +Inf; none where no trace was kept."""
        return self._found.get(ModelLabels(*key), {}).get(metric, {})
