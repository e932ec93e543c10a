"""The mathematics of a burning budget, on numbers alone. The rules (rules.py) ask Prometheus for exactly the same."""

from typing import NamedTuple

from calmops.objectives.promises.windows import AtRisk


class Covered(NamedTuple):
    """What was seen of a counter within a span: its outermost samples, how many there are, what resets hid between them."""

    first_s: float
    first: float
    last_s: float
    last: float
    samples: int
    hidden: float = 0.0  # the sum of the values just before each fall


def increase(seen: Covered, start_s: float, end_s: float) -> float | None:
    """By how much a counter rose over [start_s, end_s], as PromQL's ``increase`` has it; None for fewer than two samples.

    A fall is a reset. What lies between the span's ends and the outermost samples is extrapolated: up to a tenth over one
    sampling interval, half an interval beyond that, never below zero.
    Source: Prometheus, promql/functions.go, extrapolatedRate.
    """
    if seen.samples < 2:
        return None
    rise = seen.last - seen.first + seen.hidden
    sampled_s = seen.last_s - seen.first_s
    between_s = sampled_s / (seen.samples - 1)
    head_s, tail_s = seen.first_s - start_s, end_s - seen.last_s
    if rise > 0 and seen.first >= 0:
        head_s = min(head_s, sampled_s * seen.first / rise)
    covered_s = sampled_s
    for beyond_s in (head_s, tail_s):
        covered_s += beyond_s if beyond_s < 1.1 * between_s else between_s / 2
    return rise * covered_s / sampled_s


def burn(bad: float, events: float, budget: float) -> float | None:
    """How many times as fast as it may a budget burns: the share of bad events over the share allowed; None when idle."""
    return bad / events / budget if events > 0 else None


def budget_left(bad: float, mean_events: float, budget: float, steps: float) -> float | None:
    """The share of a period's budget that is left: may be negative; None without events.

    ``mean_events``: in one of the period's ``steps``, on average over those that were seen, so that a system which has
    counted for an hour isn't taken to have spent a month's budget in it.
    """
    allowed = mean_events * steps * budget
    return 1.0 - bad / allowed if allowed > 0 else None


def is_at_risk(left: float, rate: float, risk: AtRisk, period_s: float) -> bool:
    """Whether little of the budget is left, or none will be soon if it goes on burning at ``rate``."""
    return left < risk.left or left < rate * risk.ends_within_s / period_s
