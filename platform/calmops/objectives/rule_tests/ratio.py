"""Scenarios for promtool, one file for each objective: what must alert and what must keep still. Generated into rule_tests/.

Times are minutes; clean traffic comes first. What is expected follows from the windows, not from a run. Each objective has a
fast burn, a slow one, recovery, idleness, a counter reset, low traffic, maintenance and missing series; a value is a gauge, so
that it has neither resets nor traffic.
"""

import math
from collections.abc import Iterator
from typing import Any

from calmops.objectives.promises.objective import AnyObjective, Ratio, Value, Zero
from calmops.objectives.promises.windows import Window, Windows
from calmops.objectives.rule_tests.at_risk import of_a_budget_at_risk
from calmops.objectives.rule_tests.series import (
    LATE,
    RATE,
    Asked,
    Course,
    Series,
    Stretch,
    Test,
    counted,
    maintained,
    scenario,
)
from calmops.objectives.rules.series import ZERO_S, left_series

CLEAN = 90  # longer than the quick windows look back
HOUR = 60


def rule_tests(objective: AnyObjective, windows: Windows, rule_file: str) -> dict[str, Any]:
    """The content of one promtool file."""
    if isinstance(objective, Ratio):
        tests = list(_of_a_ratio(objective, windows))
    elif isinstance(objective, Zero):
        tests = list(_of_a_zero(objective))
    else:
        tests = list(_of_a_value(objective))
    absent = scenario("missing series: nothing to say", objective.alert, [], [Asked(30, fires=False)])
    return {"rule_files": [rule_file], "evaluation_interval": "1m", "tests": [*tests, absent]}


def _of_a_ratio(objective: Ratio, windows: Windows) -> Iterator[Test]:
    usable, _ = windows.of(objective)
    by_severity = {severity: [one for one in usable if one.severity == severity] for severity in ("page", "ticket")}
    found = {severity: mine for severity, mine in by_severity.items() if mine}
    delays = {severity: _delay(objective, windows, mine, 1.0, CLEAN) for severity, mine in found.items()}
    yield from _of_an_outage(objective, found, delays)
    for severity, mine in found.items():
        yield _slow(objective, windows, severity, mine)
    yield from of_a_budget_at_risk(objective, windows)
    as_it_may = Course([(2 * HOUR, RATE * objective.target, RATE * objective.budget * 0.99)])
    yield _counting(
        "as it may: a budget that burns once never alerts", objective, as_it_may, Asked(2 * HOUR, fires=False)
    )
    few = Course([(HOUR, 0.0, objective.least_events / 2 / HOUR)])
    yield _counting("low traffic: too few events say nothing", objective, few, Asked(HOUR, fires=False))


def _of_an_outage(objective: Ratio, found: dict[str, list[Window]], delays: dict[str, int]) -> Iterator[Test]:
    """Everything bad, after a time of everything good."""
    clean: Stretch = (CLEAN, RATE, 0.0)
    latest = max(delays.values())
    ends = CLEAN + latest + 30
    fires = [Asked(CLEAN + delay + LATE, fires=True, severity=severity) for severity, delay in delays.items()]
    short = {severity: max(one.short_s for one in mine) // 60 + LATE for severity, mine in found.items()}
    over = [Asked(ends + late, fires=False, severity=severity) for severity, late in short.items()]
    before = Asked(CLEAN, fires=False)
    for name, after in (
        ("fast burn and recovery: a total outage alerts, until it has left the short span", RATE),
        ("idle: an alert ends where nothing happens any more", 0.0),
    ):
        course = Course([clean, (latest + 30, 0.0, RATE), (max(short.values()) + 10, after, 0.0)])
        yield _counting(name, objective, course, before, *fires, *over)
    half = max(1, latest // 2)
    restarted = Course([clean, (half, 0.0, RATE), (latest + 20, 0.0, RATE)], reset_at=CLEAN + half)
    despite = [Asked(CLEAN + latest + 1 + LATE, fires=True, severity=severity) for severity in delays]
    yield _counting("counter reset: it hides no outage", objective, restarted, *despite)
    restarted = Course([clean, (HOUR, RATE, 0.0)], reset_at=CLEAN)
    yield _counting(
        "counter reset: it is no outage",
        objective,
        restarted,
        *(Asked(CLEAN + late, fires=False) for late in (0, 5, HOUR)),
    )
    yield _maintained(objective, Course([clean, (latest + 30, 0.0, RATE)]), CLEAN + latest + LATE)


def _delay(objective: Ratio, windows: Windows, mine: list[Window], share: float, clean: int) -> int:
    """After how many minutes the first of these windows fires."""
    fast_enough = [one for one in mine if windows.factor(one, objective) * objective.budget < share]
    return math.ceil(min(windows.delay_s(one, objective, share, clean * 60) for one in fast_enough) / 60)


def _slow(objective: Ratio, windows: Windows, severity: str, mine: list[Window]) -> Test:
    """A burn that is enough for the slowest window of a severity alone."""
    usable, _ = windows.of(objective)
    slow = min(windows.factor(one, objective) for one in mine)
    quicker = min(
        (factor for one in usable if (factor := windows.factor(one, objective)) > slow), default=1 / objective.budget
    )
    share = (slow + min(quicker, 1 / objective.budget)) / 2 * objective.budget
    delay = _delay(objective, windows, mine, share, HOUR)
    course = Course([(HOUR, RATE, 0.0), (delay + 30, RATE * (1 - share), RATE * share)])
    asked = [
        Asked(HOUR + delay // 2, fires=False, severity=severity),
        Asked(HOUR + delay + LATE, fires=True, severity=severity),
    ]
    pages = [windows.factor(one, objective) for one in usable if one.severity == "page"]
    if severity == "ticket" and pages and min(pages) > slow:
        asked.append(Asked(HOUR + delay + 30, fires=False, severity="page"))
    what = "pages by the slow one" if severity == "page" else "opens a ticket"
    return _counting(f"slow burn: what is too little for the other windows {what}", objective, course, *asked)


def _maintained(objective: Ratio, course: Course, minute: int) -> Test:
    silenced = _counting(
        "maintenance: it silences the alert and not the budget",
        objective,
        course,
        Asked(minute, fires=False),
        more=[maintained("1x2000")],
    )
    chosen = f'{left_series(objective.period_s)}{{objective="{objective.name}"}}'
    silenced["promql_expr_test"].append(
        {"expr": f"count({chosen} < 1)", "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": 1}]}
    )
    return silenced


def _of_a_zero(objective: Zero) -> Iterator[Test]:
    lasts, well, severity = ZERO_S // 60, RATE, objective.severity
    one_bad: Stretch = (1, RATE - 1, 1.0)

    def fires(*minutes: int) -> list[Asked]:
        return [Asked(minute, fires=True, severity=severity) for minute in minutes]

    def silent(*minutes: int) -> list[Asked]:
        return [Asked(minute, fires=False) for minute in minutes]

    once = Course([(60, well, 0.0), one_bad, (60, well, 0.0)])
    expected = [*silent(60), *fires(62, 60 + lasts), *silent(62 + lasts)]
    yield _counting(
        "fast burn and recovery: one bad event alerts at once and for ten minutes", objective, once, *expected
    )
    now_and_then = Course([(60, well, 0.0), one_bad, (59, well, 0.0), one_bad, (30, well, 0.0)])
    yield _counting(
        "slow burn: one now and then alerts each time",
        objective,
        now_and_then,
        *fires(62),
        *silent(62 + lasts, 120),
        *fires(122),
    )
    alone = Course([(60, 0.0, 0.0), (1, 0.0, 1.0), (60, 0.0, 0.0)])
    yield _counting("low traffic: a bad event alerts where there is no other", objective, alone, *expected)
    idle = Course([(60, well, 0.0), one_bad, (60, 0.0, 0.0)])
    yield _counting(
        "idle: it ends where nothing happens any more, and nothing alone never alerts",
        objective,
        idle,
        *expected,
        *silent(120),
    )
    restarted = Course([(60, well, 0.0), (60, well, 0.0)], reset_at=60)
    yield _counting("counter reset: it is no bad event", objective, restarted, *silent(61, 120))
    hidden = Course([(30, well, 0.0), one_bad, (29, well, 0.0), (1, well, 0.0), one_bad, (30, well, 0.0)], reset_at=60)
    yield _counting("counter reset: it hides none", objective, hidden, *silent(60), *fires(63))
    yield _counting("maintenance silences no leak", objective, once, *fires(62), more=[maintained("1x121")])


def _of_a_value(objective: Value) -> Iterator[Test]:
    within, past = (
        (objective.bound, objective.bound * 2)
        if objective.op in ("lt", "lte")
        else (objective.bound * 2, objective.bound / 2)
    )
    barely = objective.bound + (past - objective.bound) / 100
    lasting, severity = objective.for_s // 60, objective.severity
    fires = 31 + lasting

    def told(name: str, values: str, *asked: Asked, more: tuple[Series, ...] = ()) -> Test:
        return scenario(name, objective.alert, [Series(f'{objective.gauge}{{model="m"}}', values), *more], asked)

    before, then = [Asked(30, fires=False), Asked(fires - 1, fires=False)], Asked(fires, fires=True, severity=severity)
    over = Asked(fires + 12, fires=False)
    yield told(
        "fast burn and recovery: far out of bounds for as long as it may be, then alerts, then ends",
        f"{within:g}x30 {past:g}x{lasting + 10} {within:g}x30",
        *before,
        then,
        over,
    )
    yield told(
        "slow burn: just out of bounds alerts as well",
        f"{within:g}x30 {barely:g}x{lasting + 10} {within:g}x30",
        *before,
        then,
        over,
    )
    if lasting:
        briefly = " ".join(f"{within:g}x30 {past:g}x{max(0, lasting - 2)}" for _ in range(2))
        yield told(
            "recovery: out of bounds twice, but never for long enough, says nothing",
            f"{briefly} {within:g}x30",
            *(Asked(minute, fires=False) for minute in (fires, fires + 30 + lasting)),
        )
    yield told(
        "idle: it ends where nothing costs anything any more",
        f"{within:g}x30 {past:g}x{lasting + 10} stale",
        then,
        over,
    )
    yield told(
        "maintenance silences it",
        f"{within:g}x30 {past:g}x{lasting + 10}",
        Asked(fires, fires=False),
        more=(maintained("1x120"),),
    )
    anew = f"{within:g}x30 {past:g}x{2 * lasting + 10}"
    silence = f"_x{31 + lasting // 2} 1x4 stale"
    counting = 31 + lasting // 2 + 5
    yield told(
        "maintenance: it waits anew after it", anew, Asked(fires + 4, fires=False), Asked(counting + lasting - 1, fires=False),
        Asked(counting + lasting + 1, fires=True, severity=severity), more=(maintained(silence),),
    )  # fmt: skip


def _counting(
    name: str, objective: Ratio | Zero, course: Course, *asked: Asked, more: list[Series] | None = None
) -> Test:
    return scenario(name, objective.alert, [*counted(objective.name, course), *(more or [])], asked)
