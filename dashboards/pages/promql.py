"""Writes the PromQL that dashboards share: label matchers, rates, percentiles and how requests end.

Knows metrics and their labels, no panel.
"""

from calmops.foundation.metric_names import Metric
from calmops.foundation.model_labels import MODEL_LABELS, SHARD_LABELS
from calmops.messages.record import NOT_COUNTED, OUTCOMES, SUCCESSES

VARIABLES = SHARD_LABELS  # in the order in which each narrows the next
RATE = "$__rate_interval"
RANGE = "$__range"


def matchers(*variables: str) -> str:
    """Match labels to the chosen values of these variables; "All" also matches series that lack the label."""
    return ", ".join(f'{name}=~"${name}"' for name in variables)


MODEL = matchers("model")
VERSION = matchers(*MODEL_LABELS)
SHARD = matchers(*VARIABLES)

# How requests end: those that a promise counts, and among them those that keep it and those that break it.
COUNTED = f'outcome!~"{"|".join(NOT_COUNTED)}"'
WELL = f'outcome=~"{"|".join(SUCCESSES)}"'
BADLY = f'outcome=~"{"|".join(one for one in OUTCOMES if one not in (*SUCCESSES, *NOT_COUNTED))}"'


def series(metric: Metric, *labels: str, part: str = "") -> str:
    """Select a metric's series by label matchers. ``part``: of a histogram, "bucket", "sum" or "count"."""
    name = f"{metric.name}_{part}" if part else metric.name
    return f"{name}{{{', '.join(labels)}}}" if labels else name


def total(metric: Metric, by: str, *labels: str) -> str:
    """Sum a gauge over all series with the same labels ``by``."""
    return f"sum by ({by}) ({series(metric, *labels)})"


def rate(metric: Metric, by: str, *labels: str, part: str = "") -> str:
    """Count a metric's events per second; ``by`` "" sums over all series."""
    return _sum(by, f"rate({series(metric, *labels, part=part)}[{RATE}])")


def increase(metric: Metric, by: str, *labels: str, span: str = RATE) -> str:
    """Count a metric's events over a span; ``by`` "" sums over all series."""
    return _sum(by, f"increase({series(metric, *labels)}[{span}])")


def increase_per_series(metric: Metric) -> str:
    """Count a metric's events over the rate interval, unsummed."""
    return f"increase({series(metric)}[{RATE}])"


def percentile(share: float, metric: Metric, by: str, *labels: str) -> str:
    """Compute a percentile of a histogram over the rate interval."""
    return f"histogram_quantile({share}, {rate(metric, f'le, {by}', *labels, part='bucket')})"


def buckets(metric: Metric, *labels: str) -> str:
    """Count a histogram's events per second and bucket."""
    return rate(metric, "le", *labels, part="bucket")


def _sum(by: str, expression: str) -> str:
    return f"sum by ({by}) ({expression})" if by else f"sum({expression})"
