"""Prometheus text to the few figures a person asks for: rates between two readings, percentiles out of buckets. Pure."""

import math
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from calmops.foundation import metric_names
from calmops.foundation.quantiles import quantile

Buckets = Mapping[float, float]  # upper edge in seconds (infinity last) to the count at or below it


class Reading(NamedTuple):
    """What one look at /metrics said, added up over shards and replicas."""

    generated: dict[str, float]  # model to tokens
    ttft: dict[str, dict[float, float]]  # model to buckets
    inter_token: dict[str, dict[float, float]]  # likewise, on the gateway's clock


class MetricsReading(NamedTuple):
    """One model's line: rates over the window, percentiles over it too or, without events in it, since the start."""

    model: str
    tokens_per_s: float
    ttft_p50_ms: float | None
    ttft_p99_ms: float | None
    itl_p50_ms: float | None
    itl_p99_ms: float | None
    over: str  # "window" or "since start": what the percentiles cover


def read(text: str) -> Reading:
    """Parse one exposition."""
    generated: dict[str, float] = defaultdict(float)
    ttft: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    inter_token: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            model = sample.labels.get("model", "")
            if sample.name == metric_names.TOKENS.name and sample.labels.get("kind") == "generated":
                generated[model] += sample.value
            elif sample.name == f"{metric_names.TTFT.name}_bucket":
                ttft[model][float(sample.labels["le"])] += sample.value
            elif sample.name == f"{metric_names.INTER_TOKEN.name}_bucket" and sample.labels.get("at") == "gateway":
                inter_token[model][float(sample.labels["le"])] += sample.value
    plain = {model: dict(buckets) for model, buckets in ttft.items()}
    return Reading(dict(generated), plain, {model: dict(buckets) for model, buckets in inter_token.items()})


def figures(before: Reading, after: Reading, window_s: float) -> list[MetricsReading]:
    """Each model's figures between two readings, ``window_s`` seconds apart."""
    assert window_s > 0, f"the window must last, got {window_s} s"
    return [_figures(model, before, after, window_s) for model in sorted(after.generated)]


def share_below(buckets: Buckets, share: float) -> float | None:
    """The value, in seconds, below which ``share`` of the events lie; None without events."""
    edges = sorted(buckets)
    below = [0.0, *(buckets[edge] for edge in edges)]
    counts = [after - before for before, after in pairwise(below)]
    return quantile([edge for edge in edges if not math.isinf(edge)], counts, share)


def _figures(model: str, before: Reading, after: Reading, window_s: float) -> MetricsReading:
    grown = after.generated[model] - before.generated.get(model, 0.0)
    ttft_now = _difference(before.ttft.get(model, {}), after.ttft.get(model, {}))
    itl_now = _difference(before.inter_token.get(model, {}), after.inter_token.get(model, {}))
    lively = itl_now.get(math.inf, 0.0) > 0 and ttft_now.get(math.inf, 0.0) > 0
    ttft = ttft_now if lively else after.ttft.get(model, {})
    itl = itl_now if lively else after.inter_token.get(model, {})
    return MetricsReading(
        model=model, tokens_per_s=max(0.0, grown) / window_s,
        ttft_p50_ms=_ms(ttft, 0.5), ttft_p99_ms=_ms(ttft, 0.99),
        itl_p50_ms=_ms(itl, 0.5), itl_p99_ms=_ms(itl, 0.99),
        over="window" if lively else "since start",
    )  # fmt: skip


def _ms(buckets: Buckets, share: float) -> float | None:
    value_s = share_below(buckets, share)
    return None if value_s is None else value_s * 1000


def _difference(before: Buckets, after: Buckets) -> dict[float, float]:
    """Events between two readings; a meter that began anew gives those since its start."""
    restarted = any(after.get(edge, 0.0) < count for edge, count in before.items())
    return {edge: count - (0.0 if restarted else before.get(edge, 0.0)) for edge, count in after.items()}
