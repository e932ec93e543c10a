"""Writes alerting rules: when to page somebody or open a ticket, and what the message says.

A page sums over shards and names the worst; a ticket is about one shard. All windows of a severity share one rule, so
however many of them fire, there is one alert. Maintenance silences burning budgets and values, never a zero: a leak is
a leak. Knows PromQL, but neither files nor who receives an alert: alertmanager.py does.
"""

from collections.abc import Callable
from typing import NamedTuple

from calmops.foundation import metric_names as names
from calmops.foundation.metric_names import BAD, RESULT
from calmops.foundation.model_labels import MODEL_LABELS
from calmops.objectives.promises.objective import EVENTS_SERIES, AnyObjective, Ratio, Severity, Value, Zero
from calmops.objectives.promises.windows import Window, Windows, span
from calmops.objectives.rules.recording_rules import Rule
from calmops.objectives.rules.series import (
    MAINTENANCE,
    MODEL,
    STEP_S,
    ZERO_S,
    Pace,
    burn_series,
    events_series,
    increments,
    left_series,
)

TELEMETRY_STOPPED, TELEMETRY_LAGGING = "TelemetryStopped", "TelemetryLagging"
CONSOLE_RUNBOOKS = "/console/runbooks"  # the runbooks that ship, as pages
FROZEN_S = 300  # a gang sends a heartbeat record each second, so counts that stand still for so long mean a failure
PAST = {"lt": ">=", "lte": ">", "gt": "<=", "gte": "<"}  # how a value compares to a bound that it breaks


class TelemetryAlert(NamedTuple):
    """Describes an alert on the counting itself: where nothing is counted, no budget can burn."""

    alert: str
    severity: Severity
    team: str
    escalation: str
    expression: Callable[[Pace], str]
    for_s: int
    summary: str
    description: str


def _stopped_expression(pace: Pace) -> str:
    """Return a condition that holds if no target answers, no counts exist or counts stand still: one alert for all."""
    increase = f"increase({names.FOLDED.name}[{span(pace.seconds(FROZEN_S))}])"
    return f'count(absent(up{{job="calmops"}} == 1) or absent({names.FOLDED.name}) or sum({increase}) == 0) > 0'


TELEMETRY_ALERTS = (
    TelemetryAlert(
        alert=TELEMETRY_STOPPED, severity="page", team="observability", escalation="platform-lead",
        expression=_stopped_expression, for_s=300, summary="calmops can't be seen",
        description="Its metrics can't be read, or nothing is counted any more, so no other alert can fire.",
    ),
    TelemetryAlert(
        alert=TELEMETRY_LAGGING, severity="ticket", team="observability", escalation="platform-lead",
        expression=lambda _: f"{names.MISSING.name} > 0", for_s=900, summary="Telemetry records are late or lost",
        description="The meter waits for {{ $value | humanize }} records older than the newest ones of their sources.",
    ),
)  # fmt: skip


class Links:
    """Writes the addresses to which an alert sends its reader."""

    def __init__(self, runbooks: str, dashboards: str) -> None:
        self._runbooks, self._dashboards = runbooks.rstrip("/"), dashboards.rstrip("/")

    def beside(self, runbooks: str) -> "Links":
        """Return links to the same dashboards and to runbooks under another address."""
        return Links(runbooks, self._dashboards)

    def annotations(self, alert: str) -> dict[str, str]:
        """Return the addresses of the alert's runbook and of the on-call dashboard for its label set if any."""
        variables = "".join(
            f"{{{{ with $labels.{name} }}}}&var-{name}={{{{ urlquery . }}}}{{{{ end }}}}" for name in MODEL_LABELS
        )
        return {
            "runbook_url": f"{self._runbooks}/{alert}.md",
            "dashboard_url": f"{self._dashboards}/calmops-on-call?from=now-1h&to=now{variables}",
        }


class Alerts:
    """Writes the alerting rules of objectives, and those on the counting itself."""

    def __init__(self, windows: Windows, links: Links, pace: Pace) -> None:
        """``windows``: spans already at this pace."""
        self._windows, self._links, self._pace = windows, links, pace

    def objective_rules(self, objective: AnyObjective) -> list[Rule]:
        """Return a ratio's rules, one that pages and one that opens tickets if they can fire, or another's one rule."""
        if isinstance(objective, Ratio):
            usable, _ = self._windows.of(objective)
            rules: list[Rule] = []
            for severity in ("page", "ticket"):
                conditions = [self._condition(objective, one) for one in usable if one.severity == severity]
                if conditions:
                    rules.append(self._rule(objective, severity, "\nor\n".join(conditions)))
            return rules
        if isinstance(objective, Zero):
            matchers = f'{{objective="{objective.name}", {RESULT}="{BAD}"}}'
            bad = f"increase({EVENTS_SERIES}{matchers}[{span(self._pace.seconds(ZERO_S))}])"
            return [self._rule(objective, objective.severity, f"sum by ({MODEL}) ({bad}) > 0")]
        past_bound = f"{objective.gauge} {PAST[objective.op]} {objective.bound:g}"
        return [self._rule(objective, objective.severity, past_bound)]

    def telemetry_rules(self) -> list[Rule]:
        """Return the rules on the counting itself."""
        return [
            {
                "alert": one.alert, "expr": one.expression(self._pace), "for": span(self._pace.seconds(one.for_s)),
                "labels": {"severity": one.severity, "team": one.team, "escalation": one.escalation},
                "annotations": {
                    "summary": one.summary, "description": one.description, **self._links.annotations(one.alert),
                },
            }
            for one in TELEMETRY_ALERTS
        ]  # fmt: skip

    def _condition(self, objective: Ratio, window: Window) -> str:
        """Return the condition under which one window fires. Its value is the burn over the long span."""
        level = "model" if window.severity == "page" else "shard"
        matchers = f'{{objective="{objective.name}"}}'
        burn = f"{burn_series(level, window.long_s)}{matchers}"
        conditions = [
            f"{burn} > {window.factor:g}",
            f"{burn_series(level, window.short_s)}{matchers} > {window.factor:g}",
            f"{events_series(level, window.long_s)}{matchers} >= {objective.least_events}",
        ]
        if window.only_at_risk:
            period_s, risk = self._pace.seconds(objective.period_s), self._windows.at_risk
            left = f"{left_series(period_s)}{matchers}"
            conditions.append(f"({left} < {risk.left:g} or {left} < {risk.ends_within_s / period_s:.12g} * {burn})")
        return "(" + " and ".join(conditions) + ")"

    def _rule(self, objective: AnyObjective, severity: Severity, expression: str) -> Rule:
        rule: Rule = {"alert": objective.alert, "expr": expression}
        if not isinstance(objective, Zero):
            rule["expr"] = _outside_maintenance(expression)
        if isinstance(objective, Value):
            rule["for"] = span(self._pace.seconds(objective.for_s))
        with_shard = severity == "ticket" and isinstance(objective, Ratio)
        where = "{{ $labels.model }}" + (" shard {{ $labels.shard }}" if with_shard else "")
        rule["labels"] = {
            "severity": severity,
            "objective": objective.name,
            "team": objective.team,
            "escalation": objective.escalation,
        }
        rule["annotations"] = {
            "summary": f"{objective.title}: {where}",
            "description": self._description(objective, severity),
            **self._links.annotations(objective.alert),
        }
        return rule

    def _description(self, objective: AnyObjective, severity: Severity) -> str:
        if isinstance(objective, Zero):
            return f"{objective.says} {{{{ $value | humanize }}}} did."
        if isinstance(objective, Value):
            return f"{objective.says} Now {{{{ $value | humanize }}}}."
        text = f"{objective.says} The budget burns {{{{ $value | humanize }}}} times as fast as it may."
        return text + self._worst_shards(objective) if severity == "page" else text

    def _worst_shards(self, objective: Ratio) -> str:
        """Return a template that names the three shards with most bad events in the last step, queried when sent."""
        series = increments("shard", "bad", self._pace.seconds(STEP_S))
        matchers = ", ".join(f"{label}=%q" for label in MODEL_LABELS)
        values = " ".join(f"$labels.{label}" for label in MODEL_LABELS)
        query = f'printf `topk(3, {series}{{objective="{objective.name}", {matchers}}} > 0)` {values}'
        shard = " Shard {{ .Labels.shard }}: {{ .Value | humanize }} bad in the last minute."
        return f"{{{{ range {query} | query }}}}{shard}{{{{ end }}}}"


def _outside_maintenance(expression: str) -> str:
    """Silence a condition while the model or everything is in maintenance; the budget goes on counting."""
    return f'(\n{expression}\n)\nunless on (model) {MAINTENANCE}\nunless on () {MAINTENANCE}{{model=""}}'
