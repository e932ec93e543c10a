"""Computes how a budget burns, from numbers alone. The rules (objectives/rules) ask Prometheus for exactly the same."""

from typing import NamedTuple

from calmops.objectives.promises.windows import AtRisk


class SampledSpan(NamedTuple):
    """Holds a counter's outermost samples within a span, how many samples there are, and what resets hid between."""

    first_s: float
    first: float
    last_s: float
    last: float
    samples: int
    hidden: float = 0.0  # the sum of the values just before each fall


def increase(span: SampledSpan, start_s: float, end_s: float) -> float | None:
    """Return by how much a counter rose over [start_s, end_s], as PromQL's ``increase`` does; None for under 2 samples.

    A fall is a reset. The rise between the span's ends and the outermost samples is extrapolated: over the whole
    distance if it is less than 1.1 sampling intervals, else over half an interval; never below a counter of zero.
    Source: Prometheus, promql/functions.go, extrapolatedRate.
    """
    if span.samples < 2:
        return None
    rise = span.last - span.first + span.hidden
    sampled_s = span.last_s - span.first_s
    between_s = sampled_s / (span.samples - 1)
    head_s, tail_s = span.first_s - start_s, end_s - span.last_s
    if rise > 0 and span.first >= 0:
        head_s = min(head_s, sampled_s * span.first / rise)
    covered_s = sampled_s
    for beyond_s in (head_s, tail_s):
        covered_s += beyond_s if beyond_s < 1.1 * between_s else between_s / 2
    return rise * covered_s / sampled_s


def burn_rate(bad: float, events: float, budget: float) -> float | None:
    """Return the burn rate: the share of bad events over the share allowed; None without events."""
    return bad / events / budget if events > 0 else None


def budget_left(bad: float, mean_events: float, budget: float, steps: float) -> float | None:
    """Return the share of a period's budget that is left: may be negative; None without events.

    ``mean_events``: the events per step, on average over those of the period's ``steps`` that were seen. So a system
    that has counted for an hour isn't taken to have spent a month's budget in it.
    """
    allowed = mean_events * steps * budget
    return 1.0 - bad / allowed if allowed > 0 else None


def is_at_risk(left: float, rate: float, risk: AtRisk, period_s: float) -> bool:
    """Return whether little of the budget is left, or none will be left soon if it goes on burning at ``rate``."""
    return left < risk.left or left < rate * risk.ends_within_s / period_s
