"""Alerting rules: when somebody is paged or a ticket opened, and what they are told.

A page sums over shards and names the worst; a ticket is one shard's. One rule for all windows of a severity: however many
of them fire, it is one alert. Maintenance silences burning budgets and values, never a zero: a leak is a leak.
"""

from collections.abc import Callable
from typing import NamedTuple

from calmops.foundation import metric_names as names
from calmops.foundation.metric_names import BAD, RESULT
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
CONSOLE_RUNBOOKS = "/console/runbooks"  # those that ship, as pages
FROZEN_S = 300  # a gang's heartbeat is a record each second: counts that stand still for so long are no lull
PAST = {"lt": ">=", "lte": ">", "gt": "<=", "gte": "<"}  # how a value stands to a bound that it doesn't keep


class TelemetryAlert(NamedTuple):
    """An alert on the counting itself: where nothing is counted, no budget can burn."""

    alert: str
    severity: Severity
    team: str
    escalation: str
    expression: Callable[[Pace], str]
    for_s: int
    summary: str
    description: str


def _unseen(pace: Pace) -> str:
    """No target that answers, no counts, or counts that stand still; one alert, whichever it is."""
    counted = f"increase({names.FOLDED.name}[{span(pace.seconds(FROZEN_S))}])"
    return f'count(absent(up{{job="calmops"}} == 1) or absent({names.FOLDED.name}) or sum({counted}) == 0) > 0'


TELEMETRY_ALERTS = (
    TelemetryAlert(
        alert=TELEMETRY_STOPPED, severity="page", team="observability", escalation="platform-lead",
        expression=_unseen, for_s=300, summary="calmops can't be seen",
        description="Its metrics can't be read, or nothing is counted any more: every other alert is blind meanwhile.",
    ),
    TelemetryAlert(
        alert=TELEMETRY_LAGGING, severity="ticket", team="observability", escalation="platform-lead",
        expression=lambda _: f"{names.MISSING.name} > 0", for_s=900, summary="Telemetry records are late or lost",
        description="The meter waits for {{ $value | humanize }} records below the newest ones of their sources.",
    ),
)  # fmt: skip


class Links:
    """Where an alert sends its reader."""

    def __init__(self, runbooks: str, dashboards: str) -> None:
        self._runbooks, self._dashboards = runbooks.rstrip("/"), dashboards.rstrip("/")

    def beside(self, runbooks: str) -> "Links":
        """The same dashboards, runbooks elsewhere."""
        return Links(runbooks, self._dashboards)

    def annotations(self, alert: str) -> dict[str, str]:
        """The alert's runbook, and the on-call dashboard of the model and version that it is about, if it is about one."""
        chosen = "".join(
            f"{{{{ with $labels.{name} }}}}&var-{name}={{{{ urlquery . }}}}{{{{ end }}}}"
            for name in ("model", "version")
        )
        return {
            "runbook_url": f"{self._runbooks}/{alert}.md",
            "dashboard_url": f"{self._dashboards}/calmops-on-call?from=now-1h&to=now{chosen}",
        }


class Alerts:
    """Writes an objective's alerts."""

    def __init__(self, windows: Windows, links: Links, pace: Pace) -> None:
        """``windows``: already at this pace."""
        self._windows, self._links, self._pace = windows, links, pace

    def of(self, objective: AnyObjective) -> list[Rule]:
        """A ratio's has one rule that pages and one that opens tickets, as far as they can fire; the others one."""
        if isinstance(objective, Ratio):
            usable, _ = self._windows.of(objective)
            found: list[Rule] = []
            for severity in ("page", "ticket"):
                firing = [self._firing(objective, one) for one in usable if one.severity == severity]
                if firing:
                    found.append(self._rule(objective, severity, "\nor\n".join(firing)))
            return found
        if isinstance(objective, Zero):
            chosen = f'{{objective="{objective.name}", {RESULT}="{BAD}"}}'
            counted = f"increase({EVENTS_SERIES}{chosen}[{span(self._pace.seconds(ZERO_S))}])"
            return [self._rule(objective, objective.severity, f"sum by ({MODEL}) ({counted}) > 0")]
        past = f"{objective.gauge} {PAST[objective.op]} {objective.bound:g}"
        return [self._rule(objective, objective.severity, past)]

    def watching(self) -> list[Rule]:
        """The alerts on the counting itself."""
        return [
            {
                "alert": one.alert, "expr": one.expression(self._pace), "for": span(self._pace.seconds(one.for_s)),
                "labels": {"severity": one.severity, "team": one.team, "escalation": one.escalation},
                "annotations": {"summary": one.summary, "description": one.description, **self._links.annotations(one.alert)},
            }
            for one in TELEMETRY_ALERTS
        ]  # fmt: skip

    def _firing(self, objective: Ratio, window: Window) -> str:
        """One window's condition. Its value is the burn over the long span."""
        level = "model" if window.severity == "page" else "shard"
        chosen = f'{{objective="{objective.name}"}}'
        burning = f"{burn_series(level, window.long_s)}{chosen}"
        conditions = [
            f"{burning} > {window.factor:g}",
            f"{burn_series(level, window.short_s)}{chosen} > {window.factor:g}",
            f"{events_series(level, window.long_s)}{chosen} >= {objective.least_events}",
        ]
        if window.only_at_risk:
            period_s, risk = self._pace.seconds(objective.period_s), self._windows.at_risk
            left = f"{left_series(period_s)}{chosen}"
            conditions.append(f"({left} < {risk.left:g} or {left} < {risk.ends_within_s / period_s:.12g} * {burning})")
        return "(" + " and ".join(conditions) + ")"

    def _rule(self, objective: AnyObjective, severity: Severity, expression: str) -> Rule:
        rule: Rule = {"alert": objective.alert, "expr": expression}
        if not isinstance(objective, Zero):
            rule["expr"] = _outside_maintenance(expression)
        if isinstance(objective, Value):
            rule["for"] = span(self._pace.seconds(objective.for_s))
        where = "{{ $labels.model }}" + (
            " shard {{ $labels.shard }}" if severity == "ticket" and isinstance(objective, Ratio) else ""
        )
        rule["labels"] = {
            "severity": severity, "objective": objective.name, "team": objective.team, "escalation": objective.escalation,
        }  # fmt: skip
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
        told = f"{objective.says} The budget burns {{{{ $value | humanize }}}} times as fast as it may."
        return told + self._worst(objective) if severity == "page" else told

    def _worst(self, objective: Ratio) -> str:
        """The three shards with most bad events in the last step, asked for when the alert is sent."""
        series = increments("shard", "bad", self._pace.seconds(STEP_S))
        told = ("model", "version", "variant", "environment")
        matching, values = ", ".join(f"{label}=%q" for label in told), " ".join(f"$labels.{label}" for label in told)
        asked = f'printf `topk(3, {series}{{objective="{objective.name}", {matching}}} > 0)` {values}'
        shard = " Shard {{ .Labels.shard }}: {{ .Value | humanize }} bad in the last minute."
        return f"{{{{ range {asked} | query }}}}{shard}{{{{ end }}}}"


def _outside_maintenance(expression: str) -> str:
    """Silent while the model, or everything, is being maintained; the budget goes on counting."""
    return f'(\n{expression}\n)\nunless on (model) {MAINTENANCE}\nunless on () {MAINTENANCE}{{model=""}}'
