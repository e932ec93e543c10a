"""Finds out on a real Prometheus when each window of each ratio fires by itself.

The past is good for as long as the window looks back, then every event is bad.
"""

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

TURN_S = 1_750_032_000  # Unix seconds, when every event turns bad
READ_S, STEP_S, EVENTS_PER_READING = 60, 240, 100
PACE = Pace(least_s=STEP_S)  # lengthens only the steps: each holds four readings, as in production


class Case(NamedTuple):
    """Holds one window by itself. Times are seconds after the turn."""

    objective: Ratio
    window: Window
    delay_s: float  # in theory
    earliest_s: float  # a budget at risk fires a little sooner: the outage itself spends some of it

    @property
    def model(self) -> str:
        """Return the model with this case's traffic, which no other case has."""
        return f"{self.objective.name}-{self.window.name}"

    @property
    def latest_s(self) -> float:
        """Return the latest time: one evaluation later, of what was read one reading ago.

        A ticket's span is summed in steps, and includes the steps at both its ends.
        """
        wider = STEP_S / self.window.long_s if self.window.severity == "ticket" else 0.0
        return self.delay_s * (1 + wider) + STEP_S + READ_S


def cases(promises: Promises) -> list[Case]:
    """Return a case for every window that can fire, of every ratio."""
    windows, entries = promises.windows, []
    for objective in (one for one in promises.objectives if isinstance(one, Ratio)):
        usable, _ = windows.of(objective)
        for window in usable:
            delay_s = windows.delay_s(window, objective, 1.0)
            spent = windows.factor(window, objective) * window.long_s / objective.period_s
            earliest_s = delay_s / (1 + spent) if window.only_at_risk else delay_s
            entries.append(Case(objective, window, delay_s, earliest_s))
    return entries


def fired_s(promises: Promises, links: Links, folder: Path) -> dict[str, float]:
    """Return when each case's condition first holds on a real Prometheus: its model to seconds after the turn."""
    all_cases = cases(promises)
    first_s: dict[str, float] = {}
    rules = rules_of(rule_file(promises, links, PACE))
    with filled(folder, past(all_cases), rules, span(all_cases)) as (server, times_s):
        for case in all_cases:
            for labels, values in server.over(condition(case, promises, links), times_s[0], times_s[-1], STEP_S):
                if labels["model"] == case.model:
                    after_s = values[0][0] - TURN_S
                    first_s[case.model] = min(first_s.get(case.model, after_s), after_s)
    return first_s


def condition(case: Case, promises: Promises, links: Links) -> str:
    """Return the alert's expression as if it had only this window."""
    alone = Windows(windows=(case.window,), at_risk=promises.windows.at_risk)
    rules = rules_of(rule_file(Promises([case.objective], alone), links, PACE))
    (expression,) = (
        rule["expr"]
        for rule in rules
        if rule.get("labels", {}).get("objective") == case.objective.name and "alert" in rule
    )
    return str(expression)


def span(all_cases: list[Case]) -> Past:
    """Return a past that is long enough for all cases."""
    before_s, after_s = max(one.window.long_s for one in all_cases), max(one.latest_s for one in all_cases)
    return Past(TURN_S - before_s, TURN_S + (int(after_s) // STEP_S + 2) * STEP_S, STEP_S)


def past(all_cases: list[Case]) -> Iterator[str]:
    """Yield OpenMetrics text, one counter after another."""
    end_s = span(all_cases).end_s
    yield f"# TYPE {EVENTS_SERIES.removesuffix('_total')} counter"
    for case in all_cases:
        for result in (GOOD, BAD):
            own = f'objective="{case.objective.name}",model="{case.model}"'
            labels = f'{own},version="1",variant="stable",tier="base",environment="test",shard="0"'
            value = 0
            for at_s in range(TURN_S - case.window.long_s, end_s + READ_S, READ_S):
                yield f'{EVENTS_SERIES}{{{labels},result="{result}"}} {value} {at_s}'
                value += EVENTS_PER_READING if (result == BAD) == (at_s >= TURN_S) else 0
