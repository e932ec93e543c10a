"""Objectives and windows to a Prometheus rule file. Generated, never edited: `calmops slo generate` writes, tests compare.

evaluator.py has the same mathematics in Python, for where no Prometheus runs.
"""

from typing import Any

import yaml

from calmops.objectives.promises.objective import Ratio
from calmops.objectives.promises.promises import Promises
from calmops.objectives.promises.windows import span
from calmops.objectives.rules import recording_rules
from calmops.objectives.rules.alert_rules import Alerts, Links
from calmops.objectives.rules.maintenance_rules import maintenance_rules
from calmops.objectives.rules.series import STEP_S, Pace

# How often short spans and pages, what is left of budgets, and long spans and tickets are evaluated. All well within the five
# minutes that Prometheus looks back for a value: what one late evaluation leaves out is still there for whoever reads it.
SHORT_S, BUDGET_S, LONG_S = 30, 120, 240


def rule_file(promises: Promises, links: Links, pace: Pace | None = None) -> dict[str, Any]:
    """The file's content. ``pace`` makes every span shorter."""
    pace = pace or Pace()
    paced = promises.windows.paced(pace.seconds)
    step_s = pace.seconds(STEP_S)
    ratios = [one for one in promises.objectives if isinstance(one, Ratio)]
    writer = Alerts(paced, links, pace)
    alerts = [rule for one in promises.objectives for rule in writer.of(one)] + writer.watching()
    pages, tickets = (
        [rule for rule in alerts if rule["labels"]["severity"] == severity] for severity in ("page", "ticket")
    )
    # Rules of a group are evaluated one after the other: what an alert reads stands before it, so it is never a round late.
    groups = [
        ("calmops-steps", step_s, recording_rules.budgets(ratios) + recording_rules.noted(step_s)),
        ("calmops-budgets", pace.seconds(BUDGET_S), recording_rules.left(ratios, pace)),
        (
            "calmops-short-spans", pace.seconds(SHORT_S),
            maintenance_rules(promises.announced) + recording_rules.direct(recording_rules.spans(paced.windows, "page")) + pages,
        ),
        (
            "calmops-long-spans", pace.seconds(LONG_S),
            recording_rules.summed(recording_rules.spans(paced.windows, "ticket"), step_s) + tickets,
        ),
    ]  # fmt: skip
    return {
        "groups": [{"name": name, "interval": span(each_s), "rules": rules} for name, each_s, rules in groups if rules]
    }


def as_yaml(content: dict[str, Any]) -> str:
    """A generated file's text; expressions of several lines stay so."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
