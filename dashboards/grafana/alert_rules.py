"""Turns Prometheus' alerting rules into rules that Grafana evaluates itself, one group per group of Prometheus. Pure.

Recording rules stay with Prometheus, and these rules read what it recorded: both must come from the same generated
file. A rule names its receiver itself (`notification_settings`), so that nobody's notification policies are touched.
Where Alertmanager notifies a second receiver, an escalation, there is a second rule: its condition must hold longer, by
the time that Alertmanager would wait. Grafana has no counterpart to Alertmanager's inhibition, so a ticket comes beside
its page. Knows neither Grafana's API nor its address.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from calmops.foundation.errors import ConfigError
from calmops.objectives.promises.windows import seconds
from calmops.objectives.rules.alert_rules import TELEMETRY_STOPPED
from calmops.objectives.rules.series import MAINTENANCE
from dashboards.grafana.alerts_folder import RULES, AlertsFolder, Route, Rule, RuleGroup
from dashboards.ownership import FOLDER, Json, uid

EXPRESSIONS = "__expr__"  # the data source of what Grafana computes itself
ANY_VALUE = "is_number($A) || is_nan($A) || is_inf($A)"  # 1 for every value: each series that is returned fires
RANGE_S = 600
STEP_MS, MAX_POINTS = 1000, 43200  # what Grafana writes into a query that leaves them out
WHOLE_UNITS_S = (("w", 604800), ("d", 86400))
UNITS_S = (("h", 3600), ("m", 60), ("s", 1))
VALUE = re.compile(r"\$value\b")
QUERIED_WHEN_SENT = re.compile(r"\{\{ range .*?\| query \}\}.*?\{\{ end \}\}", re.DOTALL)


class GrafanaGroup(NamedTuple):
    """Holds a rule group as it is sent to Grafana."""

    name: str
    interval_s: int
    rules: Sequence[Json]


def grafana_groups(alerts: AlertsFolder, source: str, mutes: Sequence[str]) -> list[GrafanaGroup]:
    """Return every alerting rule, in its group.

    ``source``: uid of the Prometheus that the rules query; ``mutes``: names of mute timings in force for all models.
    """
    groups = [
        GrafanaGroup(group.name, seconds(group.interval), list(_grafana_rules(group, alerts.route, source, mutes)))
        for group in alerts.groups
        if any(rule.alert for rule in group.rules)
    ]
    titles = [rule["title"] for group in groups for rule in group.rules]
    repeated = sorted({title for title in titles if titles.count(title) > 1})
    if repeated:
        raise ConfigError(
            f"{RULES}: has two rules {', '.join(repeated)}; give one of their objectives another alert's name"
        )
    return groups


def _grafana_rules(group: RuleGroup, route: Route, source: str, mutes: Sequence[str]) -> Iterator[Json]:
    for rule in group.rules:
        if rule.alert is None:
            continue
        # Grafana mutes a rule only if maintenance silences it in Prometheus too.
        own_mutes = mutes if MAINTENANCE in rule.expr else ()
        for number, branch in enumerate(route.of(rule.labels)):
            yield {
                **_identity(rule, number),
                "folderUID": FOLDER["uid"],
                "ruleGroup": group.name,
                "orgID": 1,  # the schema asks for one; the token's organisation is what counts
                "condition": "B",
                "data": [_prometheus_query(rule.expr, source), _condition()],
                "noDataState": "OK",
                "execErrState": _error_state(rule),
                "for": span_text(_seconds(rule.lasting) + (seconds(branch.group_wait) if number else 0)),
                "labels": rule.labels,
                "annotations": {name: _template(text) for name, text in rule.annotations.items()},
                "isPaused": False,
                "missingSeriesEvalsToResolve": 1,  # resolved as soon as its series is gone, as in Prometheus
                "notification_settings": _notification(branch, at_once=bool(number), mutes=own_mutes),
            }


def _identity(rule: Rule, number: int) -> Json:
    """Return a rule's uid and title. A page and a ticket of one alert share a folder, where titles must differ."""
    assert rule.alert is not None
    severity = rule.labels.get("severity", "alert")
    if number == 0:
        return {"uid": uid(rule.alert, severity), "title": f"{rule.alert} ({severity})"}
    escalation = "escalation" if number == 1 else f"escalation {number}"
    return {"uid": uid(rule.alert, severity, str(number + 1)), "title": f"{rule.alert} ({severity}, {escalation})"}


def _prometheus_query(expression: str, source: str) -> Json:
    return {
        "refId": "A",
        "queryType": "",
        "relativeTimeRange": {"from": RANGE_S, "to": 0},
        "datasourceUid": source,
        "model": {
            "refId": "A", "expr": expression, "instant": True, "range": False,
            "datasource": {"type": "prometheus", "uid": source}, "intervalMs": STEP_MS, "maxDataPoints": MAX_POINTS,
        },
    }  # fmt: skip


def _condition() -> Json:
    """Return a condition that fires for each series that the query returned: PromQL has left out the others."""
    return {
        "refId": "B",
        "queryType": "",
        "relativeTimeRange": {"from": 0, "to": 0},
        "datasourceUid": EXPRESSIONS,
        "model": {
            "refId": "B", "type": "math", "expression": ANY_VALUE,
            "datasource": {"type": EXPRESSIONS, "uid": EXPRESSIONS}, "intervalMs": STEP_MS, "maxDataPoints": MAX_POINTS,
        },
    }  # fmt: skip


def _error_state(rule: Rule) -> str:
    """Return what a rule does if Prometheus doesn't answer: TelemetryStopped fires, every other rule stays as it was.

    "Error" would make each rule alert on its own; "Alerting" would page every team for budgets that may not burn; "OK"
    would resolve what still burns.
    """
    return "Alerting" if rule.alert == TELEMETRY_STOPPED else "KeepLast"


def _notification(route: Route, *, at_once: bool, mutes: Sequence[str]) -> Json:
    """Return a rule's notification settings. Grafana always groups by folder and alert name, and sorts the rest."""
    more = sorted(set(route.group_by) - {"alertname", "grafana_folder"})
    settings = {
        "receiver": uid(route.receiver),
        "group_by": ["grafana_folder", "alertname", *more],
        "group_wait": span_text(0 if at_once else seconds(route.group_wait)),
        "group_interval": span_text(seconds(route.group_interval)),
        "repeat_interval": span_text(seconds(route.repeat_interval)),
    }
    return settings | ({"mute_time_intervals": list(mutes)} if mutes else {})


def _template(text: str) -> str:
    """Rewrite a template for Grafana, where `$value` is a text about every value and a template can't query."""
    return VALUE.sub("$values.A.Value", QUERIED_WHEN_SENT.sub("", text))


def _seconds(span: str | None) -> int:
    return seconds(span) if span else 0


def span_text(duration_s: int) -> str:
    """Write a span as Prometheus' library and so Grafana write it: 5400 as "1h30m"."""
    for unit, size_s in WHOLE_UNITS_S:
        if duration_s and duration_s % size_s == 0:
            return f"{duration_s // size_s}{unit}"
    text, left_s = "", duration_s
    for unit, size_s in UNITS_S:
        count, left_s = divmod(left_s, size_s)
        text += f"{count}{unit}" if count else ""
    return text or "0s"
