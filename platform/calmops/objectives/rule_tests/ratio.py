"""Writes promtool scenarios, one file per objective: what must alert and what must not. Generated into rule_tests/.

Times are minutes; good traffic comes first. What is expected follows from the windows, not from a run. Each objective
has a fast burn, a slow burn, recovery, idleness, a counter reset, low traffic, maintenance and missing series. A value
is a gauge, so it has neither resets nor traffic.
"""

import math
from collections.abc import Iterator
from typing import Any

from calmops.objectives.promises.objective import AnyObjective, Ratio, Value, Zero
from calmops.objectives.promises.windows import Window, Windows
from calmops.objectives.rule_tests.at_risk import at_risk_scenarios
from calmops.objectives.rule_tests.series import (
    LATE_MINUTES,
    RATE,
    Check,
    Course,
    Series,
    Stretch,
    Test,
    event_series,
    maintenance_series,
    scenario,
)
from calmops.objectives.rules.series import ZERO_S, left_series

CLEAN = 90  # longer than the quick windows look back
HOUR = 60

BySeverity = dict[str, list[Window]]


def rule_tests(objective: AnyObjective, windows: Windows, rule_file: str) -> dict[str, Any]:
    """Return the content of one promtool file."""
    if isinstance(objective, Ratio):
        tests = list(_ratio_scenarios(objective, windows))
    elif isinstance(objective, Zero):
        tests = list(_zero_scenarios(objective))
    else:
        tests = list(_value_scenarios(objective))
    absent = scenario("missing series: it doesn't alert", objective.alert, [], [Check(30, fires=False)])
    return {"rule_files": [rule_file], "evaluation_interval": "1m", "tests": [*tests, absent]}


def _ratio_scenarios(objective: Ratio, windows: Windows) -> Iterator[Test]:
    usable, _ = windows.of(objective)
    by_severity = {severity: [one for one in usable if one.severity == severity] for severity in ("page", "ticket")}
    by_severity = {severity: own for severity, own in by_severity.items() if own}
    delays = {severity: _delay(objective, windows, own, 1.0, CLEAN) for severity, own in by_severity.items()}
    yield from _outages(objective, by_severity, delays)
    for severity, own in by_severity.items():
        yield _slow_burn(objective, windows, severity, own)
    yield from at_risk_scenarios(objective, windows)
    as_it_may = Course([(2 * HOUR, RATE * objective.target, RATE * objective.budget * 0.99)])
    yield _event_scenario(
        "as it may: a budget that burns once never alerts", objective, as_it_may, Check(2 * HOUR, fires=False)
    )
    few = Course([(HOUR, 0.0, objective.least_events / 2 / HOUR)])
    yield _event_scenario("low traffic: too few events never alert", objective, few, Check(HOUR, fires=False))


def _outages(objective: Ratio, by_severity: BySeverity, delays: dict[str, int]) -> Iterator[Test]:
    """Yield scenarios in which every event is bad after a time in which every event was good."""
    clean: Stretch = (CLEAN, RATE, 0.0)
    latest = max(delays.values())
    ends = CLEAN + latest + 30
    fires = [Check(CLEAN + delay + LATE_MINUTES, fires=True, severity=severity) for severity, delay in delays.items()]
    short = {severity: max(one.short_s for one in own) // 60 + LATE_MINUTES for severity, own in by_severity.items()}
    over = [Check(ends + late, fires=False, severity=severity) for severity, late in short.items()]
    before = Check(CLEAN, fires=False)
    for name, after in (
        ("fast burn and recovery: a total outage alerts until it has left the short span", RATE),
        ("idle: an alert ends if nothing happens any more", 0.0),
    ):
        course = Course([clean, (latest + 30, 0.0, RATE), (max(short.values()) + 10, after, 0.0)])
        yield _event_scenario(name, objective, course, before, *fires, *over)
    half = max(1, latest // 2)
    reset_in_outage = Course([clean, (half, 0.0, RATE), (latest + 20, 0.0, RATE)], reset_at=CLEAN + half)
    still_fires = [Check(CLEAN + latest + 1 + LATE_MINUTES, fires=True, severity=severity) for severity in delays]
    yield _event_scenario("counter reset: it hides no outage", objective, reset_in_outage, *still_fires)
    reset_alone = Course([clean, (HOUR, RATE, 0.0)], reset_at=CLEAN)
    silent = [Check(CLEAN + late, fires=False) for late in (0, 5, HOUR)]
    yield _event_scenario("counter reset: it is no outage", objective, reset_alone, *silent)
    yield _in_maintenance(objective, Course([clean, (latest + 30, 0.0, RATE)]), CLEAN + latest + LATE_MINUTES)


def _delay(objective: Ratio, windows: Windows, own: list[Window], bad_share: float, clean: int) -> int:
    """Return after how many minutes the first of these windows fires."""
    fast_enough = [one for one in own if windows.factor(one, objective) * objective.budget < bad_share]
    return math.ceil(min(windows.delay_s(one, objective, bad_share, clean * 60) for one in fast_enough) / 60)


def _slow_burn(objective: Ratio, windows: Windows, severity: str, own: list[Window]) -> Test:
    """Return a scenario of a burn that is fast enough only for the slowest window of a severity."""
    usable, _ = windows.of(objective)
    slow = min(windows.factor(one, objective) for one in own)
    quicker = min(
        (factor for one in usable if (factor := windows.factor(one, objective)) > slow), default=1 / objective.budget
    )
    bad_share = (slow + min(quicker, 1 / objective.budget)) / 2 * objective.budget
    delay = _delay(objective, windows, own, bad_share, HOUR)
    course = Course([(HOUR, RATE, 0.0), (delay + 30, RATE * (1 - bad_share), RATE * bad_share)])
    checks = [
        Check(HOUR + delay // 2, fires=False, severity=severity),
        Check(HOUR + delay + LATE_MINUTES, fires=True, severity=severity),
    ]
    pages = [windows.factor(one, objective) for one in usable if one.severity == "page"]
    if severity == "ticket" and pages and min(pages) > slow:
        checks.append(Check(HOUR + delay + 30, fires=False, severity="page"))
    effect = "pages by the slow one" if severity == "page" else "opens a ticket"
    return _event_scenario(f"slow burn: too little for the other windows {effect}", objective, course, *checks)


def _in_maintenance(objective: Ratio, course: Course, minute: int) -> Test:
    silenced = _event_scenario(
        "maintenance: it silences the alert and not the budget",
        objective,
        course,
        Check(minute, fires=False),
        more=[maintenance_series("1x2000")],
    )
    left = f'{left_series(objective.period_s)}{{objective="{objective.name}"}}'
    silenced["promql_expr_test"].append(
        {"expr": f"count({left} < 1)", "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": 1}]}
    )
    return silenced


def _zero_scenarios(objective: Zero) -> Iterator[Test]:
    lasts, good, severity = ZERO_S // 60, RATE, objective.severity
    one_bad: Stretch = (1, RATE - 1, 1.0)

    def fires(*minutes: int) -> list[Check]:
        return [Check(minute, fires=True, severity=severity) for minute in minutes]

    def silent(*minutes: int) -> list[Check]:
        return [Check(minute, fires=False) for minute in minutes]

    def test(name: str, course: Course, *checks: Check, more: list[Series] | None = None) -> Test:
        return _event_scenario(name, objective, course, *checks, more=more)

    once = Course([(60, good, 0.0), one_bad, (60, good, 0.0)])
    ten_minutes = [*silent(60), *fires(62, 60 + lasts), *silent(62 + lasts)]
    yield test("fast burn and recovery: one bad event alerts at once and for ten minutes", once, *ten_minutes)
    now_and_then = Course([(60, good, 0.0), one_bad, (59, good, 0.0), one_bad, (30, good, 0.0)])
    twice = [*fires(62), *silent(62 + lasts, 120), *fires(122)]
    yield test("slow burn: a bad event now and then alerts each time", now_and_then, *twice)
    alone = Course([(60, 0.0, 0.0), (1, 0.0, 1.0), (60, 0.0, 0.0)])
    yield test("low traffic: a bad event alerts even if there is no other event", alone, *ten_minutes)
    idle = Course([(60, good, 0.0), one_bad, (60, 0.0, 0.0)])
    yield test(
        "idle: an alert ends if nothing happens any more, and idleness alone never alerts",
        idle,
        *ten_minutes,
        *silent(120),
    )
    restarted = Course([(60, good, 0.0), (60, good, 0.0)], reset_at=60)
    yield test("counter reset: it is no bad event", restarted, *silent(61, 120))
    hidden = Course([(30, good, 0.0), one_bad, (29, good, 0.0), (1, good, 0.0), one_bad, (30, good, 0.0)], reset_at=60)
    yield test("counter reset: it hides no bad event", hidden, *silent(60), *fires(63))
    yield test("maintenance silences no bad event", once, *fires(62), more=[maintenance_series("1x121")])


def _value_scenarios(objective: Value) -> Iterator[Test]:
    within, past = (
        (objective.bound, objective.bound * 2)
        if objective.op in ("lt", "lte")
        else (objective.bound * 2, objective.bound / 2)
    )
    barely = objective.bound + (past - objective.bound) / 100
    lasting, severity = objective.for_s // 60, objective.severity
    fires = 31 + lasting

    def test(name: str, values: str, *checks: Check, more: tuple[Series, ...] = ()) -> Test:
        series = [Series(f'{objective.gauge}{{model="m"}}', values), *more]
        return scenario(name, objective.alert, series, checks)

    before, then = [Check(30, fires=False), Check(fires - 1, fires=False)], Check(fires, fires=True, severity=severity)
    over = Check(fires + 12, fires=False)
    good, bad = f"{within:g}x30", f"{past:g}x{lasting + 10}"
    yield test(
        "fast burn and recovery: far out of bounds for as long as it may be, then alerts, then ends",
        f"{good} {bad} {good}",
        *before,
        then,
        over,
    )
    barely_bad = f"{barely:g}x{lasting + 10}"
    yield test("slow burn: just out of bounds alerts as well", f"{good} {barely_bad} {good}", *before, then, over)
    if lasting:
        briefly = f"{good} {past:g}x{max(0, lasting - 2)}"
        silent = [Check(minute, fires=False) for minute in (fires, fires + 30 + lasting)]
        yield test(
            "recovery: out of bounds twice, but never for long enough, doesn't alert",
            f"{briefly} {briefly} {good}",
            *silent,
        )
    yield test("idle: an alert ends if nothing costs anything any more", f"{good} {bad} stale", then, over)
    during = Check(fires, fires=False)
    yield test("maintenance silences it", f"{good} {bad}", during, more=(maintenance_series("1x120"),))
    counts_from = 31 + lasting // 2 + 5
    yield test(
        "maintenance: the wait starts again after it",
        f"{good} {past:g}x{2 * lasting + 10}",
        Check(fires + 4, fires=False),
        Check(counts_from + lasting - 1, fires=False),
        Check(counts_from + lasting + 1, fires=True, severity=severity),
        more=(maintenance_series(f"_x{31 + lasting // 2} 1x4 stale"),),
    )


def _event_scenario(
    name: str, objective: Ratio | Zero, course: Course, *checks: Check, more: list[Series] | None = None
) -> Test:
    return scenario(name, objective.alert, [*event_series(objective.name, course), *(more or [])], checks)
