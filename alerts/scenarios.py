"""Scenarios for promtool, one file for each objective: what must alert and what must keep still. Generated into rule_tests/.

Times are minutes; clean traffic comes first. What is expected follows from the windows, not from a run.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from calmops.foundation.metric_names import BAD, GOOD
from calmops.objectives.objective import EVENTS_SERIES, AnyObjective, Ratio, Value, Zero
from calmops.objectives.series import MAINTENANCE, ZERO_S, left_series
from calmops.objectives.windows import Windows

Test = dict[str, Any]
Stretch = tuple[int, float, float]  # minutes, good and bad events in each
Expected = dict[int, str]  # minutes to the severity that alerts then, "" for none

RATE = 100.0  # events a minute
CLEAN = 90  # longer than the quick windows look back
LONG_CLEAN = 6 * 60  # as long as the slow one does
LATE = 2  # an evaluation, and the minute in which it began
LABELS = {"model": "m", "version": "1", "variant": "stable", "tier": "base", "environment": "test", "shard": "0"}


class Course(NamedTuple):
    """What happens, and whether the counters begin anew at some minute."""

    stretches: Sequence[Stretch]
    reset_at: int | None = None


def rule_tests(objective: AnyObjective, windows: Windows, rule_file: str) -> dict[str, Any]:
    """The content of one promtool file."""
    if isinstance(objective, Ratio):
        tests = list(_of_a_ratio(objective, windows))
    elif isinstance(objective, Zero):
        tests = list(_of_a_zero(objective))
    else:
        tests = list(_of_a_value(objective))
    return {"rule_files": [rule_file], "evaluation_interval": "1m", "tests": tests}


def _of_a_ratio(objective: Ratio, windows: Windows) -> Iterator[Test]:
    usable, _ = windows.of(objective)
    pages = [one for one in usable if one.severity == "page" and not one.only_at_risk]
    clean: Stretch = (CLEAN, RATE, 0.0)
    fastest, severity = (pages[0], "page") if pages else (usable[0], "ticket")
    delay = math.ceil(windows.delay_s(fastest, objective, 1.0, CLEAN * 60) / 60)
    outage = Course([clean, (delay + 30, 0.0, RATE)])
    yield _test("fast burn: a total outage alerts", objective, outage, {CLEAN: "", CLEAN + delay + LATE: severity})
    if pages:
        yield from _of_one_that_pages(objective, windows)
    as_it_may = Course([(LONG_CLEAN, RATE * objective.target, RATE * objective.budget * 0.99)])
    yield _test("as it may: a budget that burns once never alerts", objective, as_it_may, {LONG_CLEAN: ""})
    restarted = Course([clean, (60, RATE, 0.0)], reset_at=CLEAN)
    yield _test("counter reset: it is no outage", objective, restarted, {CLEAN: "", CLEAN + 5: "", CLEAN + 60: ""})
    few = Course([(60, 0.0, objective.least_events / 2 / 60)])
    yield _test("low traffic: too few events say nothing", objective, few, {60: ""})
    yield _maintained(objective, outage, CLEAN + delay + LATE)
    yield _absent(objective)


def _of_one_that_pages(objective: Ratio, windows: Windows) -> Iterator[Test]:
    usable, _ = windows.of(objective)
    pages = [one for one in usable if one.severity == "page"]
    slow = max(pages, key=lambda one: one.long_s)
    quicker = min(windows.factor(one, objective) for one in pages if one.long_s < slow.long_s)
    share = (slow.factor + quicker) / 2 * objective.budget
    delay = math.ceil(windows.delay_s(slow, objective, share, LONG_CLEAN * 60) / 60)
    burning = Course([(LONG_CLEAN, RATE, 0.0), (delay + 30, RATE * (1 - share), RATE * share)])
    name = "slow burn: what is too little for the other windows pages by the slow one"
    expected = {LONG_CLEAN + delay // 2: "", LONG_CLEAN + delay + LATE: "page"}
    yield _test(name, objective, burning, expected, pages_only=True)
    clean: Stretch = (CLEAN, RATE, 0.0)
    short = max(one.short_s for one in pages) // 60 + LATE
    for name, after in (("recovery: it ends with the short span", RATE), ("idle: it ends where nothing happens any more", 0.0)):
        course = Course([clean, (40, 0.0, RATE), (60, after, 0.0)])
        yield _test(name, objective, course, {CLEAN + 40: "page", CLEAN + 40 + short: ""}, pages_only=True)
    restarted = Course([clean, (12, 0.0, RATE), (20, 0.0, RATE)], reset_at=CLEAN + 12)
    yield _test("counter reset: it hides no outage", objective, restarted, {CLEAN + 25: "page"}, pages_only=True)


def _of_a_zero(objective: Zero) -> Iterator[Test]:
    lasts = ZERO_S // 60
    one_bad = Course([(60, RATE, 0.0), (1, RATE - 1, 1.0), (60, RATE, 0.0)])
    expected = {60: "", 62: objective.severity, 60 + lasts: objective.severity, 62 + lasts: ""}
    yield _test("one bad event alerts at once and for ten minutes", objective, one_bad, expected)
    restarted = Course([(60, RATE, 0.0), (60, RATE, 0.0)], reset_at=60)
    yield _test("counter reset: it is none", objective, restarted, {61: "", 120: ""})
    test = _test("maintenance silences no leak", objective, one_bad, {62: objective.severity})
    test["input_series"].append({"series": f'{MAINTENANCE}{{model="m"}}', "values": "1x121"})
    yield test
    yield _absent(objective)


def _of_a_value(objective: Value) -> Iterator[Test]:
    within, past = (objective.bound, objective.bound * 2) if objective.op in ("lt", "lte") else (objective.bound * 2, objective.bound / 2)
    lasting = objective.for_s // 60
    series = f'{objective.gauge}{{model="m"}}'
    values = f"{within:g}x30 {past:g}x{lasting + 10} {within:g}x30"
    for name, more, expected in (
        ("out of bounds for as long as it may be, then alerts, then ends", [], {30: "", 31 + lasting - 1: "", 31 + lasting: objective.severity, 31 + lasting + 12: ""}),
        ("maintenance silences it", [{"series": f'{MAINTENANCE}{{model="m"}}', "values": "1x120"}], {31 + lasting: ""}),
    ):
        yield {
            "name": name, "interval": "1m", "input_series": [{"series": series, "values": values}, *more],
            "promql_expr_test": [_firing(objective, minute, severity) for minute, severity in expected.items()],
        }  # fmt: skip


def _absent(objective: AnyObjective) -> Test:
    name = "missing series: nothing to say"
    return {"name": name, "interval": "1m", "input_series": [], "promql_expr_test": [_firing(objective, 30, "")]}


def _maintained(objective: Ratio, course: Course, minute: int) -> Test:
    test = _test("maintenance: it silences the alert and not the budget", objective, course, {minute: ""})
    test["input_series"].append({"series": f'{MAINTENANCE}{{model="m"}}', "values": "1x2000"})
    chosen = f'{left_series(objective.period_s)}{{objective="{objective.name}"}}'
    test["promql_expr_test"].append({"expr": f"count({chosen} < 1)", "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": 1}]})
    return test


def _test(name: str, objective: AnyObjective, course: Course, expected: Expected, *, pages_only: bool = False) -> Test:
    """``pages_only``: what is expected are pages; tickets may come and stay."""
    series = [
        {
            "series": _series(objective, result),
            "values": _values([(minutes, counts[which]) for minutes, *counts in course.stretches], course.reset_at),
        }
        for which, result in enumerate((GOOD, BAD))
    ]
    asked = [_firing(objective, minute, severity, pages_only=pages_only) for minute, severity in expected.items()]
    return {"name": name, "interval": "1m", "input_series": series, "promql_expr_test": asked}


def _firing(objective: AnyObjective, minute: int, severity: str, *, pages_only: bool = False) -> Test:
    """Which severities of the objective's alert fire in that minute."""
    only = ', severity="page"' if pages_only else ""
    firing = f'ALERTS{{alertname="{objective.alert}", alertstate="firing"{only}}}'
    if severity == "page" and not pages_only:
        firing = f'ALERTS{{alertname="{objective.alert}", alertstate="firing", severity="page"}}'
    samples = [{"labels": f'{{severity="{severity}"}}', "value": 1}] if severity else []
    return {"expr": f"count by (severity) ({firing})", "eval_time": f"{minute}m", "exp_samples": samples}


def _series(objective: AnyObjective, result: str) -> str:
    labels = {"objective": objective.name, **LABELS, "result": result}
    chosen = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{EVENTS_SERIES}{{{chosen}}}"


def _values(stretches: Sequence[tuple[int, float]], reset_at: int | None) -> str:
    """A counter in promtool's notation: one value a minute; ``reset_at``: it begins anew at that minute."""
    told, value, minute = ["0"], 0.0, 0
    for minutes, each in stretches:
        if minute == reset_at:
            value = -each  # the first of the new ones is zero
        told.append(f"{value + each:g}+{each:g}x{minutes - 1}")
        value += each * minutes
        minute += minutes
    return " ".join(told)

