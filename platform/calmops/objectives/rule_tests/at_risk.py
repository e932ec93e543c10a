"""Writes promtool scenarios of the guide's rule: a burn too slow for other windows pages once the budget is at risk.

Knows windows and objectives; series.py knows promtool's notation.
"""

import math
from collections.abc import Iterator

from calmops.objectives.promises.objective import Ratio
from calmops.objectives.promises.windows import Window, Windows
from calmops.objectives.rule_tests.series import (
    LATE_MINUTES,
    RATE,
    Check,
    Course,
    Stretch,
    Test,
    event_series,
    scenario,
)

MORE = 1.1  # times half of the budget is spent


def at_risk_scenarios(objective: Ratio, windows: Windows) -> Iterator[Test]:
    """Yield scenarios of a budget of which little is left, and of one that soon ends.

    Yields nothing if the objective has no window for a budget at risk.
    """
    usable, _ = windows.of(objective)
    pages = [one for one in usable if one.severity == "page"]
    others = [one for one in pages if not one.only_at_risk]
    most = min([1 / objective.budget, *(one.factor for one in others)])
    for window in pages:
        soon = windows.factor(window, objective)
        if window.only_at_risk and window.factor < min(soon, most):
            yield from _little_left(objective, windows, window, (window.factor + min(soon, most)) / 2)
    for window in pages:
        soon = windows.factor(window, objective)
        quicker = min([1 / objective.budget, *(one.factor for one in others if one.factor > soon)])
        if window.only_at_risk and soon < quicker:
            yield from _soon_ended(objective, windows, window, (soon + quicker) / 2)


def _little_left(objective: Ratio, windows: Windows, window: Window, burn: float) -> Iterator[Test]:
    """Yield scenarios of a burn at which a whole budget lasts longer than ``ends_within_s``."""
    bad_share = burn * objective.budget
    delay, clean = math.ceil(window.long_s * window.factor / burn / 60), window.long_s // 60 + LATE_MINUTES
    speed = f"{burn:g} times as fast as it may"
    yield _test(
        f"not at risk: {speed} pages nobody while the budget is whole",
        objective,
        Course([(clean, RATE, 0.0), _bad(2 * delay, bad_share)]),
        Check(clean + 2 * delay, fires=False, severity="page"),
    )
    spent = math.ceil(MORE * (1 - windows.at_risk.left) * objective.period_s / 60 * objective.budget)
    begins = spent + clean
    yield _test(
        f"at risk: {speed} pages once too little of the budget is left",
        objective,
        Course([_bad(spent, 1.0), (clean, RATE, 0.0), _bad(delay + 30, bad_share)]),
        Check(begins, fires=False, severity="page"),
        Check(begins + delay // 2, fires=False, severity="page"),
        Check(begins + delay + LATE_MINUTES, fires=True, severity="page"),
    )


def _soon_ended(objective: Ratio, windows: Windows, window: Window, burn: float) -> Iterator[Test]:
    """Yield a scenario of a whole budget that soon ends; nothing if another window would page as soon."""
    bad_share, clean = burn * objective.budget, 2 * (window.long_s // 60)
    usable, _ = windows.of(objective)
    delays = {
        one.name: math.ceil(windows.delay_s(one, objective, bad_share, clean * 60) / 60)
        for one in usable
        if one.severity == "page" and windows.factor(one, objective) * objective.budget < bad_share
    }
    delay = delays.pop(window.name)
    if delay + LATE_MINUTES < min(delays.values(), default=math.inf):
        yield _test(
            f"at risk: {burn:g} times as fast as it may would soon end a whole budget",
            objective,
            Course([(clean, RATE, 0.0), _bad(delay + 30, bad_share)]),
            Check(clean + delay // 2, fires=False, severity="page"),
            Check(clean + delay + LATE_MINUTES, fires=True, severity="page"),
        )


def _bad(minutes: int, share: float) -> Stretch:
    return minutes, RATE * (1 - share), RATE * share


def _test(name: str, objective: Ratio, course: Course, *checks: Check) -> Test:
    return scenario(name, objective.alert, event_series(objective.name, course), checks)
