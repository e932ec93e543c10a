"""Turns objectives and windows into a Prometheus rule file, the last step from a token to a page.

The file is generated, never edited: `calmops slo generate` writes it, tests compare it. evaluator.py has the same
mathematics in Python, for use without a Prometheus. Knows no receivers.
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

# How often short spans and pages, the budgets' rest, and long spans and tickets are evaluated. Each is well within the
# five minutes that Prometheus looks back for a value: after one late evaluation the last value is still read.
SHORT_S, BUDGET_S, LONG_S = 30, 120, 240


def rule_file(promises: Promises, links: Links, pace: Pace | None = None) -> dict[str, Any]:
    """Return the file's content. ``pace`` makes every span shorter."""
    pace = pace or Pace()
    paced = promises.windows.paced(pace.seconds)
    step_s = pace.seconds(STEP_S)
    ratios = [one for one in promises.objectives if isinstance(one, Ratio)]
    writer = Alerts(paced, links, pace)
    alerts = [rule for one in promises.objectives for rule in writer.objective_rules(one)] + writer.telemetry_rules()
    short_spans_s, long_spans_s = (recording_rules.spans(paced.windows, severity) for severity in ("page", "ticket"))
    pages, tickets = (
        [rule for rule in alerts if rule["labels"]["severity"] == severity] for severity in ("page", "ticket")
    )
    # A group's rules are evaluated in order: what an alert reads stands before it, so the alert is never a round late.
    groups = [
        ("calmops-steps", step_s, recording_rules.budget_rules(ratios) + recording_rules.step_rules(step_s)),
        ("calmops-budgets", pace.seconds(BUDGET_S), recording_rules.budget_left_rules(ratios, pace)),
        (
            "calmops-short-spans",
            pace.seconds(SHORT_S),
            maintenance_rules(promises.announced) + recording_rules.short_span_rules(short_spans_s) + pages,
        ),
        (
            "calmops-long-spans",
            pace.seconds(LONG_S),
            recording_rules.long_span_rules(long_spans_s, step_s) + tickets,
        ),
    ]
    return {
        "groups": [
            {"name": name, "interval": span(interval_s), "rules": rules} for name, interval_s, rules in groups if rules
        ]
    }


def as_yaml(content: dict[str, Any]) -> str:
    """Return a generated file's text; an expression of several lines becomes a block of several lines."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)
