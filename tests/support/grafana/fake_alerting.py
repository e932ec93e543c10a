"""Fakes Grafana's provisioning API: contact points, mute timings, alert rules and their groups. See fake_grafana.py."""

import re
from collections.abc import Iterator
from copy import deepcopy

from tests.support.grafana.fake_answers import Answer, Json, Refused, a_uid, needs, there

CLOCK = re.compile(r"^((([01][0-9])|(2[0-3])):[0-5][0-9])$|(^24:00$)")
SPAN = re.compile(r"^(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$")
RULE_NEEDS = ("condition", "data", "execErrState", "folderUID", "for", "noDataState", "orgID", "ruleGroup", "title")
NO_DATA, ERRORS = {"OK", "NoData", "Alerting", "KeepLast"}, {"OK", "Error", "Alerting", "KeepLast"}


class FakeAlerting:
    """Keeps its state in plain dictionaries: a test changes it as a person would in Grafana."""

    def __init__(self, folders: dict[str, Json], sources: dict[str, Json], ids: Iterator[int]) -> None:
        self.contact_points: dict[str, Json] = {}
        self.mute_timings: dict[str, Json] = {}
        self.rules: dict[str, Json] = {}
        self.intervals: dict[tuple[str, str], int] = {}
        self._folders, self._sources, self._ids = folders, sources, ids

    def rule(self, title: str) -> Json:
        return next(one for one in self.rules.values() if one["title"] == title)

    def list_contact_points(self) -> Answer:
        return Answer(200, sorted(self.contact_points.values(), key=lambda one: one["name"]))

    def post_contact_point(self, body: Json) -> Answer:
        _webhook(body)
        uid = a_uid(body.get("uid") or f"made-{next(self._ids)}")
        if uid in self.contact_points:
            raise Refused(400, f"invalid object specification: receiver configuration with UID '{uid}' already exists")
        self.contact_points[uid] = body | {"uid": uid, "provenance": "api"}
        return Answer(202, self.contact_points[uid])

    def put_contact_point(self, uid: str, body: Json) -> Answer:
        there(self.contact_points, uid, f"contact point with uid '{uid}' not found")
        _webhook(body)
        self.contact_points[uid] = body | {"uid": uid, "provenance": "api"}
        return Answer(202, {"message": "contactpoint updated"})

    def delete_contact_point(self, uid: str) -> Answer:
        name = there(self.contact_points, uid, "not found")["name"]
        if any((one.get("notification_settings") or {}).get("receiver") == name for one in self.rules.values()):
            raise Refused(
                409, "Contact point is currently used in the notification settings of one or many alert rules."
            )
        del self.contact_points[uid]
        return Answer(202, {"message": "contactpoint deleted"})

    def list_mute_timings(self) -> Answer:
        return Answer(200, list(self.mute_timings.values()))

    def post_mute_timing(self, body: Json) -> Answer:
        _timing(body)
        if body["name"] in self.mute_timings:
            raise Refused(
                400, "Time interval with this name already exists. Use a different name or update existing one."
            )
        self.mute_timings[body["name"]] = body | {"provenance": "api", "version": f"v{next(self._ids)}"}
        return Answer(201, self.mute_timings[body["name"]])

    def put_mute_timing(self, name: str, body: Json) -> Answer:
        there(self.mute_timings, name, "Time interval not found")
        _timing(body)
        self.mute_timings[name] = body | {"provenance": "api", "version": f"v{next(self._ids)}"}
        return Answer(202, self.mute_timings[name])

    def delete_mute_timing(self, name: str) -> Answer:
        there(self.mute_timings, name, "Time interval not found")
        if any(
            name in ((one.get("notification_settings") or {}).get("mute_time_intervals") or [])
            for one in self.rules.values()
        ):
            raise Refused(409, "Time interval is used")
        del self.mute_timings[name]
        return Answer(204, None)

    def list_rules(self) -> Answer:
        return Answer(200, list(self.rules.values()))

    def delete_rule(self, uid: str) -> Answer:
        self.rules.pop(uid, None)
        return Answer(204, None)

    def get_group(self, folder: str, group: str) -> Answer:
        rules = [one for one in self.rules.values() if (one["folderUID"], one["ruleGroup"]) == (folder, group)]
        if not rules:
            raise Refused(404, "rule group not found", messageId="alerting.alert-rule-group.notFound", statusCode=404)
        return Answer(
            200, {"title": group, "folderUid": folder, "interval": self.intervals[folder, group], "rules": rules}
        )

    def put_group(self, folder: str, group: str, body: Json) -> Answer:
        if folder not in self._folders:
            raise Refused(400, "invalid alert rule: folder does not exist")
        if not body.get("interval") or body["interval"] % 10:
            raise Refused(
                400, "invalid alert rule: interval should be non-zero and divided exactly by scheduler interval: 10"
            )
        for rule in body["rules"]:
            self._check_rule(rule)
        uids = {rule.get("uid") for rule in body["rules"]}
        staying = {
            uid: one
            for uid, one in self.rules.items()
            if uid not in uids and (one["folderUID"], one["ruleGroup"]) != (folder, group)
        }
        titles = [one["title"] for one in (*staying.values(), *body["rules"]) if one.get("folderUID", folder) == folder]
        if len(titles) != len(set(titles)):
            raise Refused(
                400, "alert rule uniqueness constraint violation: a rule with the same title exists in the folder"
            )
        for rule in body["rules"]:
            uid = rule.get("uid") or f"made-{next(self._ids)}"
            staying[uid] = self._kept_rule(rule | {"uid": uid, "folderUID": folder, "ruleGroup": group})
        self.rules, self.intervals[folder, group] = staying, body["interval"]
        return Answer(200, body)

    def _check_rule(self, rule: Json) -> None:
        needs(rule, *RULE_NEEDS)
        a_uid(rule.get("uid") or "made")
        refs = [query["refId"] for query in rule["data"]]
        settings = rule.get("notification_settings") or {}
        sources = {query["datasourceUid"] for query in rule["data"]} - {"__expr__"}
        problems = {
            "title and ruleGroup have 1 to 190 characters": not all(
                0 < len(rule[key]) <= 190 for key in ("title", "ruleGroup")
            ),
            "condition refers to no query": rule["condition"] not in refs or len(refs) != len(set(refs)),
            "unrecognised noDataState or execErrState": rule["noDataState"] not in NO_DATA
            or rule["execErrState"] not in ERRORS,
            "for is no duration": not SPAN.match(rule["for"]),
            "data source not found": not sources <= set(self._sources),
            "receiver does not exist": bool(settings)
            and settings["receiver"] not in {one["name"] for one in self.contact_points.values()},
            "mute timing does not exist": not set(settings.get("mute_time_intervals") or []) <= set(self.mute_timings),
            "group_by must include alertname and grafana_folder": bool(settings.get("group_by"))
            and not {"alertname", "grafana_folder"} <= set(settings["group_by"]),
        }
        for problem, is_so in problems.items():
            if is_so:
                raise Refused(400, f"invalid alert rule: {problem}")

    def _kept_rule(self, rule: Json) -> Json:
        """Return a rule with what Grafana adds: its own way to write durations, a query's defaults, ids and dates."""
        kept = {key: value for key, value in deepcopy(rule).items() if value not in ({}, [])}
        for query in kept["data"]:
            query["model"] = {"intervalMs": 1000, "maxDataPoints": 43200} | query["model"]
            query.setdefault("queryType", "")
        kept["for"] = _written(kept["for"])
        for key in ("group_wait", "group_interval", "repeat_interval"):
            if key in (kept.get("notification_settings") or {}):
                kept["notification_settings"][key] = _written(kept["notification_settings"][key])
        added = {
            "id": next(self._ids),
            "orgID": 7,
            "updated": "2026-11-26T03:20:20Z",
            "provenance": "api",
            "keepFiringFor": "0s",
            "record": None,
        }
        return kept | added


def _webhook(body: Json) -> None:
    needs(body, "name", "type", "settings")
    if body["type"] != "webhook" or not body["settings"].get("url"):
        raise Refused(400, "invalid object specification: required field 'url' is not specified")


def _timing(body: Json) -> None:
    needs(body, "name")
    for interval in body.get("time_intervals", ()):
        wrong = set(interval) - {"times", "weekdays", "days_of_month", "months", "years", "location"}
        for times in interval.get("times", ()):
            start, end = times["start_time"], times["end_time"]
            wrong |= {one for one in (start, end) if not CLOCK.match(one)} or ({start} if start >= end else set())
        wrong |= {day for day in interval.get("days_of_month", ()) if not 1 <= int(day) <= 31}
        wrong |= {month for month in interval.get("months", ()) if not 1 <= int(month) <= 12}
        if wrong:
            raise Refused(400, f"Time interval is in invalid format: {sorted(wrong)}")


def _written(span: str) -> str:
    """Write a span as model.Duration does: 90m as 1h30m, 7d as 1w."""
    match = SPAN.match(span)
    assert match is not None
    left_s = sum(
        int(number or 0) * size for number, size in zip(match.groups(), (604800, 86400, 3600, 60, 1), strict=True)
    )
    if left_s and left_s % 86400 == 0:
        return f"{left_s // 604800}w" if left_s % 604800 == 0 else f"{left_s // 86400}d"
    parts = ((left_s // 3600, "h"), (left_s // 60 % 60, "m"), (left_s % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"
