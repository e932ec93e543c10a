"""A past for each window of each ratio: good for as long as the window looks back, then all bad; and when it fires by itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from calmops.foundation.metric_names import BAD, GOOD
from calmops.objectives.promises.objective import EVENTS_SERIES, Ratio
from calmops.objectives.promises.promises import Promises
from calmops.objectives.promises.windows import Window, Windows
from calmops.objectives.rules.alert_rules import Links
from calmops.objectives.rules.rule_file import rule_file
from calmops.objectives.rules.series import Pace
from tests.support.alerts.filled_prometheus import Past, filled, rules_of

TURN_S = 1_750_032_000  # Unix, when all turns bad
READ_S, STEP_S, EVENTS_A_READING = 60, 240, 100
PACE = Pace(least_s=STEP_S)  # nothing but the steps is longer than it was: each holds four readings, as in earnest


class Case(NamedTuple):
    """One window alone. Times in seconds after the turn."""

    objective: Ratio
    window: Window
    delay_s: float  # in theory
    earliest_s: float  # what is at risk ends a little sooner: the outage itself spends some of the budget

    @property
    def model(self) -> str:
        """Whose traffic it is: one of its own."""
        return f"{self.objective.name}-{self.window.name}"

    @property
    def latest_s(self) -> float:
        """One evaluation later, of what was read a reading ago. A ticket's span is summed in steps, and takes in those at both its ends."""
        wider = STEP_S / self.window.long_s if self.window.severity == "ticket" else 0.0
        return self.delay_s * (1 + wider) + STEP_S + READ_S


def cases(promises: Promises) -> list[Case]:
    """Every window that can fire, of every ratio."""
    found = []
    for objective in (one for one in promises.objectives if isinstance(one, Ratio)):
        usable, _ = promises.windows.of(objective)
        for window in usable:
            delay_s = promises.windows.delay_s(window, objective, 1.0)
            spent = (
                promises.windows.factor(window, objective) * window.long_s / objective.period_s
                if window.only_at_risk
                else 0.0
            )
            found.append(Case(objective, window, delay_s, delay_s / (1 + spent)))
    return found


def fired_s(promises: Promises, links: Links, folder: Path) -> dict[str, float]:
    """By a case's model: when its window's own condition holds first on a real Prometheus, seconds after the turn."""
    asked = cases(promises)
    found: dict[str, float] = {}
    with filled(folder, past(asked), rules_of(rule_file(promises, links, PACE)), span(asked)) as (server, times_s):
        for case in asked:
            for labels, values in server.over(condition(case, promises, links), times_s[0], times_s[-1], STEP_S):
                if labels["model"] == case.model:
                    found[case.model] = min(found.get(case.model, values[0][0] - TURN_S), values[0][0] - TURN_S)
    return found


def condition(case: Case, promises: Promises, links: Links) -> str:
    """The alert's expression, had it this window only."""
    alone = Windows(windows=(case.window,), at_risk=promises.windows.at_risk)
    rules = rules_of(rule_file(Promises([case.objective], alone), links, PACE))
    (expression,) = (
        rule["expr"]
        for rule in rules
        if rule.get("labels", {}).get("objective") == case.objective.name and "alert" in rule
    )
    return str(expression)


def span(asked: list[Case]) -> Past:
    """Long enough for all of them."""
    before_s, after_s = max(one.window.long_s for one in asked), max(one.latest_s for one in asked)
    return Past(TURN_S - before_s, TURN_S + (int(after_s) // STEP_S + 2) * STEP_S, STEP_S)


def past(asked: list[Case]) -> Iterator[str]:
    """OpenMetrics text, one counter after another."""
    end_s = span(asked).end_s
    yield f"# TYPE {EVENTS_SERIES.removesuffix('_total')} counter"
    for case in asked:
        for result in (GOOD, BAD):
            labels = f'objective="{case.objective.name}",model="{case.model}",version="1",variant="stable",tier="base",environment="test",shard="0"'
            value = 0
            for at_s in range(TURN_S - case.window.long_s, end_s + READ_S, READ_S):
                yield f'{EVENTS_SERIES}{{{labels},result="{result}"}} {value} {at_s}'
                value += EVENTS_A_READING if (result == BAD) == (at_s >= TURN_S) else 0
