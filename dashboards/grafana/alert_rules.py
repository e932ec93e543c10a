"""Prometheus' alerting rules to rules that Grafana evaluates itself, one group for each of Prometheus' groups. Pure.

Recording rules stay with Prometheus, and these ask for what it recorded: both must be loaded from the same generated file.
A rule names its receiver itself (`notification_settings`), so that nobody's notification policies are touched. Where
Alertmanager tells a second receiver, an escalation, a second rule does: the same condition, for as much longer as
Alertmanager would wait. Grafana has no counterpart to Alertmanager's inhibition: a ticket is told beside its page.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from calmops.foundation.errors import ConfigError
from calmops.objectives.promises.windows import seconds
from calmops.objectives.rules.alert_rules import TELEMETRY_STOPPED
from calmops.objectives.rules.series import MAINTENANCE
from dashboards.grafana.alerts_folder import RULES, AlertsFolder, Route, Rule, RuleGroup
from dashboards.grafana.ownership import FOLDER, Json, uid

EXPRESSIONS = "__expr__"  # the data source of what Grafana computes itself
ANY_VALUE = "is_number($A) || is_nan($A) || is_inf($A)"  # 1 whatever the value is: a series that is there fires
RANGE_S = 600
STEP_MS, MAX_POINTS = 1000, 43200  # what Grafana writes into a query that doesn't say
WHOLE_UNITS_S = (("w", 604800), ("d", 86400))
UNITS_S = (("h", 3600), ("m", 60), ("s", 1))
VALUE = re.compile(r"\$value\b")
ASKED_WHEN_SENT = re.compile(r"\{\{ range .*?\| query \}\}.*?\{\{ end \}\}", re.DOTALL)


class GrafanaGroup(NamedTuple):
    """A rule group as Grafana is sent it."""

    name: str
    interval_s: int
    rules: Sequence[Json]


def grafana_groups(alerts: AlertsFolder, source: str, mutes: Sequence[str]) -> list[GrafanaGroup]:
    """Every alerting rule. ``source``: uid of the Prometheus that is asked; ``mutes``: mute timings that are in force for all models."""
    groups = [
        GrafanaGroup(group.name, seconds(group.interval), list(_rules(group, alerts.route, source, mutes)))
        for group in alerts.groups
        if any(rule.alert for rule in group.rules)
    ]
    titles = [rule["title"] for group in groups for rule in group.rules]
    twice = sorted({title for title in titles if titles.count(title) > 1})
    if twice:
        raise ConfigError(
            f"{RULES}: has two rules {', '.join(twice)}; give one of their objectives another alert's name"
        )
    return groups


def _rules(group: RuleGroup, route: Route, source: str, mutes: Sequence[str]) -> Iterator[Json]:
    for rule in group.rules:
        if rule.alert is None:
            continue
        muted = (
            mutes if MAINTENANCE in rule.expr else ()
        )  # what maintenance doesn't silence in Prometheus it doesn't here
        for number, taken in enumerate(route.of(rule.labels)):
            yield {
                **_named(rule, number),
                "folderUID": FOLDER["uid"],
                "ruleGroup": group.name,
                "orgID": 1,  # the schema asks for one; the token's organisation is what counts
                "condition": "B",
                "data": [_question(rule.expr, source), _condition()],
                "noDataState": "OK",
                "execErrState": _when_it_cannot_ask(rule),
                "for": written(_seconds(rule.lasting) + (seconds(taken.group_wait) if number else 0)),
                "labels": rule.labels,
                "annotations": {name: _template(text) for name, text in rule.annotations.items()},
                "isPaused": False,
                "missingSeriesEvalsToResolve": 1,  # resolved as soon as its series is gone, as in Prometheus
                "notification_settings": _told(taken, at_once=bool(number), mutes=muted),
            }


def _named(rule: Rule, number: int) -> Json:
    """A page and a ticket of one alert are two rules of one folder, where titles must differ."""
    assert rule.alert is not None
    severity = rule.labels.get("severity", "alert")
    if number == 0:
        return {"uid": uid(rule.alert, severity), "title": f"{rule.alert} ({severity})"}
    told = "escalation" if number == 1 else f"escalation {number}"
    return {"uid": uid(rule.alert, severity, str(number + 1)), "title": f"{rule.alert} ({severity}, {told})"}


def _question(expression: str, source: str) -> Json:
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
    """Fires for each series that the question returned, whatever its value: PromQL has left out the others."""
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


def _when_it_cannot_ask(rule: Rule) -> str:
    """A Prometheus that doesn't answer is what TelemetryStopped is about: it alone fires then, and every other stays as it was.

    "Error" would make an alert of its own of each rule; "Alerting" would page every team for budgets that may not burn; "OK"
    would resolve what still burns.
    """
    return "Alerting" if rule.alert == TELEMETRY_STOPPED else "KeepLast"


def _told(route: Route, *, at_once: bool, mutes: Sequence[str]) -> Json:
    """Grafana groups by its folder and the alert's name in any case, and sorts the rest."""
    more = sorted(set(route.group_by) - {"alertname", "grafana_folder"})
    told = {
        "receiver": uid(route.receiver),
        "group_by": ["grafana_folder", "alertname", *more],
        "group_wait": written(0 if at_once else seconds(route.group_wait)),
        "group_interval": written(seconds(route.group_interval)),
        "repeat_interval": written(seconds(route.repeat_interval)),
    }
    return told | ({"mute_time_intervals": list(mutes)} if mutes else {})


def _template(text: str) -> str:
    """Grafana's `$value` is a text about every value; and it asks no data source while it writes (`query` finds nothing)."""
    return VALUE.sub("$values.A.Value", ASKED_WHEN_SENT.sub("", text))


def _seconds(span: str | None) -> int:
    return seconds(span) if span else 0


def written(duration_s: int) -> str:
    """A span as Prometheus' library writes it, and so Grafana: 5400 to "1h30m"."""
    for unit, size_s in WHOLE_UNITS_S:
        if duration_s and duration_s % size_s == 0:
            return f"{duration_s // size_s}{unit}"
    text, left_s = "", duration_s
    for unit, size_s in UNITS_S:
        count, left_s = divmod(left_s, size_s)
        text += f"{count}{unit}" if count else ""
    return text or "0s"
