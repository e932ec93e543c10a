"""Compares Grafana's state with the wanted one, and lists the changes in an order in which they can be made. Pure.

A folder comes before what lies in it, and a thing before the things that name it; removals go the other way round.
Knows Grafana's records, not how they are sent: client.py does.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from calmops.foundation.errors import ConfigError
from dashboards.grafana.alert_rules import GrafanaGroup
from dashboards.grafana.diff import Change, comparable, mask, only
from dashboards.ownership import FOLDER, MUTE_PREFIX, SOURCE_UID, Json, is_ours

PROMETHEUS = "prometheus"


class GrafanaState(NamedTuple):
    """Holds what Grafana answered about the things that a push concerns."""

    folder: Json | None
    sources: Sequence[Json]
    dashboards: Mapping[str, Json] = {}  # uid to the answer to GET: the dashboard and its meta
    contact_points: Sequence[Json] = ()
    mute_timings: Sequence[Json] = ()
    rules: Sequence[Json] = ()
    intervals_s: Mapping[str, int] = {}  # by name, of the groups that are in our folder


class WantedAlerts(NamedTuple):
    """Holds the alerts that Grafana should have."""

    groups: Sequence[GrafanaGroup]
    contact_points: Sequence[Json]
    mute_timings: Sequence[Json]


def dashboard_changes(state: GrafanaState, boards: Sequence[Json], prometheus: str | None) -> list[Change]:
    """Return changes of the folder, of the data source if its address is given, and of the dashboards."""
    if prometheus is None and not any(one.get("type") == PROMETHEUS for one in state.sources):
        raise ConfigError(
            "Grafana has no data source of type prometheus, which the dashboards query; "
            "give --prometheus http://host:9090"
        )
    return [_folder(state), *_source(state, prometheus), *(_dashboard(state, board) for board in boards)]


def alert_changes(state: GrafanaState, wanted: WantedAlerts, prometheus: str | None, source: str) -> list[Change]:
    """Return changes of the folder, of the data source if its address is given, and of the alerts; removals last."""
    if prometheus is None:
        _refuse_missing(state, source)
    ours = [one for one in state.rules if one.get("folderUID") == FOLDER["uid"] and is_ours(one["uid"])]
    return [
        _folder(state),
        *_source(state, prometheus),
        *(_contact_point(state, point) for point in wanted.contact_points),
        *(_mute_timing(state, timing) for timing in wanted.mute_timings),
        *(change for group in wanted.groups for change in _group(state, group, ours)),
        *_removed_rules(wanted.groups, ours),
        *_removed("mute timing", "name", state.mute_timings, wanted.mute_timings),
        *_removed("contact point", "uid", state.contact_points, wanted.contact_points),
    ]


def _refuse_missing(state: GrafanaState, source: str) -> None:
    types = {one.get("uid"): one.get("type") for one in state.sources}
    if types.get(source) == PROMETHEUS:
        return
    others = ", ".join(str(uid) for uid, kind in types.items() if kind == PROMETHEUS)
    remedy = f"give --source with one of {others}" if others else "give --prometheus http://host:9090 and one is made"
    problem = f"is of type {types[source]}" if source in types else "isn't there"
    raise ConfigError(f"data source {source}, which the rules query, {problem} in Grafana; {remedy}")


def _folder(state: GrafanaState) -> Change:
    before = only(state.folder, FOLDER) if state.folder else None
    return Change(kind="folder", name=FOLDER["uid"], before=before, after=FOLDER, current=state.folder)


def _source(state: GrafanaState, prometheus: str | None) -> Iterator[Change]:
    """Yield a change of our data source's name and address. Its headers, certificates and passwords stay."""
    if prometheus is None:
        return
    wanted = {"uid": SOURCE_UID, "name": SOURCE_UID, "type": PROMETHEUS, "access": "proxy", "url": prometheus}
    current = next((one for one in state.sources if one.get("uid") == SOURCE_UID), None)
    before = only(current, wanted) if current else None
    yield Change(kind="data source", name=SOURCE_UID, before=before, after=wanted, current=current)


def _dashboard(state: GrafanaState, board: Json) -> Change:
    current = state.dashboards.get(board["uid"])
    wanted = {"folderUid": FOLDER["uid"], "dashboard": board}
    before = None
    if current is not None:
        folder = current["meta"].get("folderUid", "")
        before = {"folderUid": folder, "dashboard": comparable(current["dashboard"], board)}
    return Change(kind="dashboard", name=board["uid"], before=before, after=wanted, current=current)


def _contact_point(state: GrafanaState, point: Json) -> Change:
    same_name = [one for one in state.contact_points if one["name"] == point["name"] and one["uid"] != point["uid"]]
    if same_name:
        raise ConfigError(
            f"contact point {point['name']} in Grafana holds an integration that isn't ours "
            f"({same_name[0]['uid']}); rename it there"
        )
    current = next((one for one in state.contact_points if one["uid"] == point["uid"]), None)
    before = _masked(comparable(only(current, point), point)) if current else None
    return Change(
        kind="contact point", name=point["name"], before=before, after=_masked(point), body=point, current=current
    )


def _mute_timing(state: GrafanaState, timing: Json) -> Change:
    current = next((one for one in state.mute_timings if one["name"] == timing["name"]), None)
    before = comparable(only(current, timing), timing) if current else None
    return Change(kind="mute timing", name=timing["name"], before=before, after=timing, current=current)


def _group(state: GrafanaState, group: GrafanaGroup, ours: Sequence[Json]) -> Iterator[Change]:
    """Yield changes of a group and of its rules. The group is sent as a whole if it or one of its rules differs."""
    in_folder = [one for one in state.rules if one.get("folderUID") == FOLDER["uid"]]
    inside = [one for one in in_folder if one.get("ruleGroup") == group.name]
    strangers = [one["title"] for one in inside if not is_ours(one["uid"])]
    if strangers:
        where = f"rule group {group.name} in folder {FOLDER['title']}"
        raise ConfigError(
            f"{where} holds {', '.join(strangers)}, which isn't ours and would be lost; "
            "move it to another group in Grafana"
        )
    current = {one["uid"]: one for one in ours}
    rules = [
        Change(
            kind="alert rule",
            name=one["title"],
            before=comparable(current[one["uid"]], one) if one["uid"] in current else None,
            after=one,
            current=current.get(one["uid"]),
        )
        for one in group.rules
    ]
    after = {"interval": group.interval_s, "rules": sorted(one["uid"] for one in group.rules)}
    before = None
    if group.name in state.intervals_s:
        before = {"interval": state.intervals_s[group.name], "rules": sorted(one["uid"] for one in inside)}
    yield Change(
        kind="rule group",
        name=group.name,
        before=before,
        after=after,
        body={
            "title": group.name,
            "folderUid": FOLDER["uid"],
            "interval": group.interval_s,
            "rules": list(group.rules),
        },
        touched=any(one.action != "same" for one in rules),
    )
    yield from rules


def _removed_rules(groups: Sequence[GrafanaGroup], ours: Sequence[Json]) -> Iterator[Change]:
    """Yield removals of our rules that no file has any more.

    A rule in a group that is sent goes with the group; each other one is removed by itself.
    """
    wanted = {rule["uid"] for group in groups for rule in group.rules}
    sent = {group.name for group in groups}
    for rule in ours:
        if rule["uid"] not in wanted:
            body = None if rule["ruleGroup"] in sent else {"uid": rule["uid"]}
            before = comparable(rule, {})
            yield Change(kind="alert rule", name=rule["title"], before=before, after=None, body=body, current=rule)


def _removed(kind: str, key: str, existing: Sequence[Json], wanted: Sequence[Json]) -> Iterator[Change]:
    """Yield removals of things with our names that were pushed: Grafana says of each whether it came by its API."""
    prefix = MUTE_PREFIX if key == "name" else ""
    names = {one[key] for one in wanted}
    for entry in existing:
        pushed = is_ours(entry[key]) and entry[key].startswith(prefix) and entry.get("provenance") == "api"
        if pushed and entry[key] not in names:
            before = _masked(comparable(entry, {})) if kind == "contact point" else comparable(entry, {})
            yield Change(
                kind=kind, name=entry["name"], before=before, after=None, body={key: entry[key]}, current=entry
            )


def _masked(point: Json) -> Json:
    settings = point.get("settings") or {}
    url = settings.get("url")
    return point | {"settings": settings | ({"url": mask(url)} if isinstance(url, str) else {})}
