"""This module turns Prometheus text into the few figures that a person asks for.

It takes rates between two readings of /metrics, and percentiles from buckets. Pure.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from calmops.foundation import metric_names
from calmops.foundation.quantiles import quantile

# Upper edge in seconds (infinity is the last) to the number of events at or below it.
Buckets = Mapping[float, float]


class Reading(NamedTuple):
    """Holds what /metrics said at one moment, added up over shards and replicas."""

    generated: dict[str, float]  # model to tokens
    ttft: dict[str, dict[float, float]]  # model to buckets
    inter_token: dict[str, dict[float, float]]  # model to buckets, on the gateway's clock


class ModelFigures(NamedTuple):
    """Holds one model's figures over a window; the percentiles are since the start if the window had no events."""

    model: str
    tokens_per_s: float
    ttft_p50_ms: float | None
    ttft_p99_ms: float | None
    itl_p50_ms: float | None
    itl_p99_ms: float | None
    over: str  # the percentiles cover this: "window" or "since start"


def read(text: str) -> Reading:
    """Parse the text of /metrics."""
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


def figures(before: Reading, after: Reading, window_s: float) -> list[ModelFigures]:
    """Return each model's figures between two readings that are ``window_s`` seconds apart."""
    assert window_s > 0, f"the window must last, got {window_s} s"
    return [_figures(model, before, after, window_s) for model in sorted(after.generated)]


def bucket_quantile(buckets: Buckets, share: float) -> float | None:
    """Return the value, in seconds, below which ``share`` of the events lie; None without events."""
    edges = sorted(buckets)
    cumulative = [0.0, *(buckets[edge] for edge in edges)]
    counts = [after - before for before, after in pairwise(cumulative)]
    return quantile([edge for edge in edges if not math.isinf(edge)], counts, share)


def _figures(model: str, before: Reading, after: Reading, window_s: float) -> ModelFigures:
    grown = after.generated[model] - before.generated.get(model, 0.0)
    ttft_now = _difference(before.ttft.get(model, {}), after.ttft.get(model, {}))
    itl_now = _difference(before.inter_token.get(model, {}), after.inter_token.get(model, {}))
    has_events = itl_now.get(math.inf, 0.0) > 0 and ttft_now.get(math.inf, 0.0) > 0
    ttft = ttft_now if has_events else after.ttft.get(model, {})
    itl = itl_now if has_events else after.inter_token.get(model, {})
    return ModelFigures(
        model=model, tokens_per_s=max(0.0, grown) / window_s,
        ttft_p50_ms=_ms(ttft, 0.5), ttft_p99_ms=_ms(ttft, 0.99),
        itl_p50_ms=_ms(itl, 0.5), itl_p99_ms=_ms(itl, 0.99),
        over="window" if has_events else "since start",
    )  # fmt: skip


def _ms(buckets: Buckets, share: float) -> float | None:
    value_s = bucket_quantile(buckets, share)
    return None if value_s is None else value_s * 1000


def _difference(before: Buckets, after: Buckets) -> dict[float, float]:
    """Return the events between two readings; if the meter was restarted in between, those since its start."""
    restarted = any(after.get(edge, 0.0) < count for edge, count in before.items())
    return {edge: count - (0.0 if restarted else before.get(edge, 0.0)) for edge, count in after.items()}
