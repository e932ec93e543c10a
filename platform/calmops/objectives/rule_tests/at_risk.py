"""Scenarios for promtool of the guide's rule: a burn that is too little for the other windows pages once the budget is at risk."""

import math
from collections.abc import Iterator

from calmops.objectives.promises.objective import Ratio
from calmops.objectives.promises.windows import Window, Windows
from calmops.objectives.rule_tests.series import LATE, RATE, Asked, Course, Stretch, Test, counted, scenario

MORE = 1.1  # than half of the budget is spent


def of_a_budget_at_risk(objective: Ratio, windows: Windows) -> Iterator[Test]:
    """By what is left, by how soon it ends, and by neither; none where no window of the objective asks for it."""
    usable, _ = windows.of(objective)
    pages = [one for one in usable if one.severity == "page"]
    others = [one for one in pages if not one.only_at_risk]
    most = min([1 / objective.budget, *(one.factor for one in others)])
    for window in pages:
        soon = windows.factor(window, objective)
        if window.only_at_risk and window.factor < min(soon, most):
            yield from _by_what_is_left(objective, windows, window, (window.factor + min(soon, most)) / 2)
    for window in pages:
        soon = windows.factor(window, objective)
        quicker = min([1 / objective.budget, *(one.factor for one in others if one.factor > soon)])
        if window.only_at_risk and soon < quicker:
            yield from _by_how_soon_it_ends(objective, windows, window, (soon + quicker) / 2)


def _by_what_is_left(objective: Ratio, windows: Windows, window: Window, burn: float) -> Iterator[Test]:
    """At a rate at which it lasts for longer than the rule cares about."""
    burning = burn * objective.budget
    delay, clean = math.ceil(window.long_s * window.factor / burn / 60), window.long_s // 60 + LATE
    told = f"{burn:g} times as fast as it may"
    whole = Course([(clean, RATE, 0.0), _bad(2 * delay, burning)])
    yield _test(
        f"not at risk: {told} pages nobody while the budget is whole",
        objective,
        whole,
        Asked(clean + 2 * delay, fires=False, severity="page"),
    )
    spent = math.ceil(MORE * (1 - windows.at_risk.left) * objective.period_s / 60 * objective.budget)
    begins = spent + clean
    course = Course([_bad(spent, 1.0), (clean, RATE, 0.0), _bad(delay + 30, burning)])
    asked = [Asked(begins, fires=False, severity="page"), Asked(begins + delay // 2, fires=False, severity="page")]
    yield _test(
        f"at risk: {told} pages once too little of the budget is left",
        objective,
        course,
        *asked,
        Asked(begins + delay + LATE, fires=True, severity="page"),
    )


def _by_how_soon_it_ends(objective: Ratio, windows: Windows, window: Window, burn: float) -> Iterator[Test]:
    """With a budget that is whole; nothing where another window would page as soon."""
    burning, clean = burn * objective.budget, 2 * (window.long_s // 60)
    usable, _ = windows.of(objective)
    delays = {
        one.name: math.ceil(windows.delay_s(one, objective, burning, clean * 60) / 60)
        for one in usable if one.severity == "page" and windows.factor(one, objective) * objective.budget < burning
    }  # fmt: skip
    delay = delays.pop(window.name)
    if delay + LATE < min(delays.values(), default=math.inf):
        course = Course([(clean, RATE, 0.0), _bad(delay + 30, burning)])
        asked = [
            Asked(clean + delay // 2, fires=False, severity="page"),
            Asked(clean + delay + LATE, fires=True, severity="page"),
        ]
        yield _test(
            f"at risk: {burn:g} times as fast as it may would soon end a whole budget", objective, course, *asked
        )


def _bad(minutes: int, share: float) -> Stretch:
    return minutes, RATE * (1 - share), RATE * share


def _test(name: str, objective: Ratio, course: Course, *asked: Asked) -> Test:
    return scenario(name, objective.alert, counted(objective.name, course), asked)
