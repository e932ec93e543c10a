"""Recording rules: one reading of the counters, and how fast each budget burnt over every span."""

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


def budgets(ratios: Iterable[Ratio]) -> list[Rule]:
    """The share of bad events that each objective allows."""
    return [
        {"record": BUDGET, "expr": f"vector({one.budget:.12g})", "labels": {"objective": one.name}} for one in ratios
    ]


def noted(step_s: int) -> list[Rule]:
    """What was counted in each step, of every shard and of every model."""
    every, bad = (f"increase({EVENTS_SERIES}{chosen}[{span(step_s)}])" for chosen in ("", f'{{{RESULT}="{BAD}"}}'))
    shard = [
        {"record": increments("shard", what, step_s), "expr": f"sum by ({SHARD}) ({counted})"}
        for what, counted in (("events", every), ("bad", bad))
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
    """Every span that windows of this severity ask for, seconds."""
    return sorted({each_s for one in windows if one.severity == severity for each_s in (one.short_s, one.long_s)})


def direct(spans_s: Iterable[int]) -> list[Rule]:
    """Short spans, summed over shards, from the counters themselves."""
    rules = []
    for span_s in spans_s:
        events = events_series("model", span_s)
        every, bad = (f"increase({EVENTS_SERIES}{chosen}[{span(span_s)}])" for chosen in ("", f'{{{RESULT}="{BAD}"}}'))
        rules += [
            {"record": events, "expr": f"sum by ({MODEL}) ({every})"},
            {"record": burn_series("model", span_s), "expr": _burn(f"sum by ({MODEL}) ({bad})", events)},
        ]
    return rules


def summed(spans_s: Iterable[int], step_s: int) -> list[Rule]:
    """Long spans, of each shard, from the increments."""
    rules = []
    for span_s in spans_s:
        events = events_series("shard", span_s)
        every, bad = (
            f"sum_over_time({increments('shard', what, step_s)}[{span(span_s)}])" for what in ("events", "bad")
        )
        rules += [
            {"record": events, "expr": every},
            {"record": burn_series("shard", span_s), "expr": _burn(bad, events)},
        ]
    return rules


def _burn(bad: str, events: str) -> str:
    """Without events there is no burn, and no division by zero."""
    return f"{bad} / ({events} > 0) / on (objective) group_left () {BUDGET}"


def left(ratios: Iterable[Ratio], pace: Pace) -> list[Rule]:
    """The share of each model's budget that is left; see burn.budget_left."""
    step_s = pace.seconds(STEP_S)
    rules = []
    for period_s in sorted({pace.seconds(one.period_s) for one in ratios}):
        bad = f"sum_over_time({increments('model', 'bad', step_s)}[{span(period_s)}])"
        mean = f"(avg_over_time({increments('model', 'events', step_s)}[{span(period_s)}]) > 0)"
        spent = f"{bad} / {mean} / {period_s // step_s} / on (objective) group_left () {BUDGET}"
        rules.append({"record": left_series(period_s), "expr": f"1 - {spent}"})
    return rules
