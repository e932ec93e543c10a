"""Writes recording rules: what the counters counted in each step, and how fast each budget burnt over every span.

Knows PromQL and windows; neither alerts nor maintenance.
"""

from collections.abc import Iterable
from typing import Any

from calmops.foundation.metric_names import BAD, RESULT
from calmops.objectives.promises.objective import EVENTS_SERIES, Ratio, Severity
from calmops.objectives.promises.windows import Window, span
from calmops.objectives.rules.series import (
    BUDGET,
    MODEL,
    SHARD,
    STEP_S,
    Pace,
    burn_series,
    events_series,
    increments,
    left_series,
)

Rule = dict[str, Any]


def budget_rules(ratios: Iterable[Ratio]) -> list[Rule]:
    """Record the share of bad events that each objective allows."""
    return [
        {"record": BUDGET, "expr": f"vector({one.budget:.12g})", "labels": {"objective": one.name}} for one in ratios
    ]


def step_rules(step_s: int) -> list[Rule]:
    """Record what was counted in each step, per shard and per model."""
    events, bad = _increases(step_s)
    shard = [
        {"record": increments("shard", what, step_s), "expr": f"sum by ({SHARD}) ({increase})"}
        for what, increase in (("events", events), ("bad", bad))
    ]
    model = [
        {
            "record": increments("model", what, step_s),
            "expr": f"sum without (shard) ({increments('shard', what, step_s)})",
        }
        for what in ("events", "bad")
    ]
    return [*shard, *model]


def spans(windows: Iterable[Window], severity: Severity) -> list[int]:
    """Return every span that windows of this severity look back over, in seconds."""
    return sorted({span_s for one in windows if one.severity == severity for span_s in (one.short_s, one.long_s)})


def short_span_rules(spans_s: Iterable[int]) -> list[Rule]:
    """Record events and burn over short spans, summed over shards, from the counters themselves."""
    rules = []
    for span_s in spans_s:
        recorded = events_series("model", span_s)
        events, bad = _increases(span_s)
        rules += [
            {"record": recorded, "expr": f"sum by ({MODEL}) ({events})"},
            {"record": burn_series("model", span_s), "expr": _burn(f"sum by ({MODEL}) ({bad})", recorded)},
        ]
    return rules


def long_span_rules(spans_s: Iterable[int], step_s: int) -> list[Rule]:
    """Record events and burn over long spans, per shard, from the steps."""
    rules = []
    for span_s in spans_s:
        recorded = events_series("shard", span_s)
        events, bad = (
            f"sum_over_time({increments('shard', what, step_s)}[{span(span_s)}])" for what in ("events", "bad")
        )
        rules += [
            {"record": recorded, "expr": events},
            {"record": burn_series("shard", span_s), "expr": _burn(bad, recorded)},
        ]
    return rules


def budget_left_rules(ratios: Iterable[Ratio], pace: Pace) -> list[Rule]:
    """Record the share of each model's budget that is left; see burn.budget_left."""
    step_s = pace.seconds(STEP_S)
    rules = []
    for period_s in sorted({pace.seconds(one.period_s) for one in ratios}):
        bad = f"sum_over_time({increments('model', 'bad', step_s)}[{span(period_s)}])"
        mean = f"(avg_over_time({increments('model', 'events', step_s)}[{span(period_s)}]) > 0)"
        spent = f"{bad} / {mean} / {period_s // step_s} / on (objective) group_left () {BUDGET}"
        rules.append({"record": left_series(period_s), "expr": f"1 - {spent}"})
    return rules


def _increases(span_s: int) -> tuple[str, str]:
    """Return the increase over a span of all events, and of the bad ones."""
    events = f"increase({EVENTS_SERIES}[{span(span_s)}])"
    return events, f'increase({EVENTS_SERIES}{{{RESULT}="{BAD}"}}[{span(span_s)}])'


def _burn(bad: str, events: str) -> str:
    """Return the burn. Without events there is no burn, and no division by zero."""
    return f"{bad} / ({events} > 0) / on (objective) group_left () {BUDGET}"
