"""Remembers, per bucket of the latency histograms, the newest kept trace that fell into it.

The tracer notes traces here, the exposition of metrics reads them. It knows no span and no OTLP.
"""

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

MAX_MODELS = 1000  # models with their labels; for further ones no trace is named
_EDGES_NS = {
    metric.name: tuple(round(edge * 1e9) for edge in edges)
    for metric, edges in ((TTFT, TTFT_EDGES_S), (DURATION, DURATION_EDGES_S), (INTER_TOKEN, INTER_TOKEN_EDGES_S))
}


class Exemplar(NamedTuple):
    """Holds one request that a bucket counted."""

    trace_id: int
    value_ns: int
    at_ns: int  # wall clock


class Exemplars:
    """Holds the newest exemplar of each bucket.

    The meter's thread notes them and scrapes read them; their owner guards them.
    """

    def __init__(self) -> None:
        self._newest: dict[ModelLabels, dict[str, dict[int, Exemplar]]] = {}

    def note(self, closed: Closed, trace_id: int, longest_gap_ns: int | None) -> None:
        """Note the end of a kept trace's request; a refused one is in no histogram.

        ``longest_gap_ns``: the longest time between two of its tokens at the gateway.
        """
        if closed.outcome in REFUSED:
            return
        key = ModelLabels.of(closed.model, closed.labels)
        if key not in self._newest and len(self._newest) >= MAX_MODELS:
            return
        metrics = self._newest.setdefault(key, {})
        for metric, value_ns in ((TTFT, closed.ttft_ns), (DURATION, closed.duration_ns), (INTER_TOKEN, longest_gap_ns)):
            if value_ns is not None:
                bucket = bisect_left(_EDGES_NS[metric.name], value_ns)
                metrics.setdefault(metric.name, {})[bucket] = Exemplar(trace_id, value_ns, closed.at_ns)

    def of(self, metric: str, key: tuple[str, ...]) -> Mapping[int, Exemplar]:
        """Return a metric's exemplars by bucket number, the last being +Inf; empty where no trace was kept."""
        return self._newest.get(ModelLabels(*key), {}).get(metric, {})
