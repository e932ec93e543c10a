"""What is to be in Grafana beside what it keeps, to a list of changes in the order in which they can be made. Pure.

What an order has to hold: a folder before what lies in it, whatever is named before what names it, and the other way round
for what goes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from calmops.foundation.errors import ConfigError
from dashboards.grafana.alert_rules import GrafanaGroup
from dashboards.grafana.diff import Change, comparable, masked, only
from dashboards.grafana.ownership import FOLDER, MUTE_PREFIX, SOURCE_UID, Json, is_ours

PROMETHEUS = "prometheus"


class Kept(NamedTuple):
    """What Grafana answered when asked for the things that a push concerns."""

    folder: Json | None
    sources: Sequence[Json]
    dashboards: Mapping[str, Json] = {}  # uid to what GET answered: the dashboard and its meta
    contact_points: Sequence[Json] = ()
    mute_timings: Sequence[Json] = ()
    rules: Sequence[Json] = ()
    intervals_s: Mapping[str, int] = {}  # of the groups in our folder that are there


class Wanted(NamedTuple):
    """What alerts are to be there."""

    groups: Sequence[GrafanaGroup]
    contact_points: Sequence[Json]
    mute_timings: Sequence[Json]


def dashboard_changes(kept: Kept, boards: Sequence[Json], prometheus: str | None) -> list[Change]:
    """Folder, data source where its address is given, dashboards."""
    if prometheus is None and not any(one.get("type") == PROMETHEUS for one in kept.sources):
        raise ConfigError(
            "Grafana has no data source of type prometheus, which the dashboards ask; give --prometheus http://host:9090"
        )
    return [_folder(kept), *_source(kept, prometheus), *(_dashboard(kept, board) for board in boards)]


def alert_changes(kept: Kept, wanted: Wanted, prometheus: str | None, source: str) -> list[Change]:
    """Folder, data source where its address is given, contact points, mute timings, rules; last what is no longer wanted."""
    if prometheus is None:
        _refuse_missing(kept, source)
    ours = [one for one in kept.rules if one.get("folderUID") == FOLDER["uid"] and is_ours(one["uid"])]
    return [
        _folder(kept),
        *_source(kept, prometheus),
        *(_contact_point(kept, point) for point in wanted.contact_points),
        *(_mute_timing(kept, timing) for timing in wanted.mute_timings),
        *(change for group in wanted.groups for change in _group(kept, group, ours)),
        *_gone_rules(wanted.groups, ours),
        *_gone("mute timing", "name", kept.mute_timings, wanted.mute_timings),
        *_gone("contact point", "uid", kept.contact_points, wanted.contact_points),
    ]


def _refuse_missing(kept: Kept, source: str) -> None:
    found = {one.get("uid"): one.get("type") for one in kept.sources}
    if found.get(source) == PROMETHEUS:
        return
    others = ", ".join(str(uid) for uid, kind in found.items() if kind == PROMETHEUS)
    remedy = f"give --source with one of {others}" if others else "give --prometheus http://host:9090 and one is made"
    what = f"is of type {found[source]}" if source in found else "isn't there"
    raise ConfigError(f"data source {source}, which the rules are to ask, {what} in Grafana; {remedy}")


def _folder(kept: Kept) -> Change:
    before = only(kept.folder, FOLDER) if kept.folder else None
    return Change(kind="folder", name=FOLDER["uid"], before=before, after=FOLDER, found=kept.folder)


def _source(kept: Kept, prometheus: str | None) -> Iterator[Change]:
    """Only what is ours of it: its name and address. Headers, certificates and passwords that somebody gave it stay."""
    if prometheus is None:
        return
    wanted = {"uid": SOURCE_UID, "name": SOURCE_UID, "type": PROMETHEUS, "access": "proxy", "url": prometheus}
    found = next((one for one in kept.sources if one.get("uid") == SOURCE_UID), None)
    before = only(found, wanted) if found else None
    yield Change(kind="data source", name=SOURCE_UID, before=before, after=wanted, found=found)


def _dashboard(kept: Kept, board: Json) -> Change:
    found = kept.dashboards.get(board["uid"])
    wanted = {"folderUid": FOLDER["uid"], "dashboard": board}
    before = None
    if found is not None:
        before = {"folderUid": found["meta"].get("folderUid", ""), "dashboard": comparable(found["dashboard"], board)}
    return Change(kind="dashboard", name=board["uid"], before=before, after=wanted, found=found)


def _contact_point(kept: Kept, point: Json) -> Change:
    same_name = [one for one in kept.contact_points if one["name"] == point["name"] and one["uid"] != point["uid"]]
    if same_name:
        raise ConfigError(
            f"contact point {point['name']} in Grafana holds an integration that isn't ours ({same_name[0]['uid']}); rename it there"
        )
    found = next((one for one in kept.contact_points if one["uid"] == point["uid"]), None)
    before = _masked(comparable(only(found, point), point)) if found else None
    return Change(
        kind="contact point", name=point["name"], before=before, after=_masked(point), body=point, found=found
    )


def _mute_timing(kept: Kept, timing: Json) -> Change:
    found = next((one for one in kept.mute_timings if one["name"] == timing["name"]), None)
    before = comparable(only(found, timing), timing) if found else None
    return Change(kind="mute timing", name=timing["name"], before=before, after=timing, found=found)


def _group(kept: Kept, group: GrafanaGroup, ours: Sequence[Json]) -> Iterator[Change]:
    """A group, which is sent as a whole if it or one of its rules differs, and its rules."""
    inside = [one for one in kept.rules if one.get("folderUID") == FOLDER["uid"] and one.get("ruleGroup") == group.name]
    strangers = [one["title"] for one in inside if not is_ours(one["uid"])]
    if strangers:
        where = f"rule group {group.name} in folder {FOLDER['title']}"
        raise ConfigError(
            f"{where} holds {', '.join(strangers)}, which isn't ours and would be lost; move it to another group in Grafana"
        )
    found = {one["uid"]: one for one in ours}
    rules = [
        Change(
            kind="alert rule", name=one["title"], after=one, found=found.get(one["uid"]),
            before=comparable(found[one["uid"]], one) if one["uid"] in found else None,
        )
        for one in group.rules
    ]  # fmt: skip
    after = {"interval": group.interval_s, "rules": sorted(one["uid"] for one in group.rules)}
    before = None
    if group.name in kept.intervals_s:
        before = {"interval": kept.intervals_s[group.name], "rules": sorted(one["uid"] for one in inside)}
    yield Change(
        kind="rule group", name=group.name, before=before, after=after, touched=any(one.action != "same" for one in rules),
        body={"title": group.name, "folderUid": FOLDER["uid"], "interval": group.interval_s, "rules": list(group.rules)},
    )  # fmt: skip
    yield from rules


def _gone_rules(groups: Sequence[GrafanaGroup], ours: Sequence[Json]) -> Iterator[Change]:
    """Rules of ours that no file has any more. Those of a group that is sent go with it, the others one by one."""
    wanted = {rule["uid"] for group in groups for rule in group.rules}
    sent = {group.name for group in groups}
    for one in ours:
        if one["uid"] not in wanted:
            body = None if one["ruleGroup"] in sent else {"uid": one["uid"]}
            yield Change(
                kind="alert rule", name=one["title"], before=comparable(one, {}), after=None, body=body, found=one
            )


def _gone(kind: str, key: str, kept: Sequence[Json], wanted: Sequence[Json]) -> Iterator[Change]:
    """Of what bears our names only what was pushed: Grafana says of each thing whether it came by its API."""
    prefix = MUTE_PREFIX if key == "name" else ""
    names = {one[key] for one in wanted}
    for one in kept:
        if (
            is_ours(one[key])
            and one[key].startswith(prefix)
            and one.get("provenance") == "api"
            and one[key] not in names
        ):
            before = _masked(comparable(one, {})) if kind == "contact point" else comparable(one, {})
            yield Change(kind=kind, name=one["name"], before=before, after=None, body={key: one[key]}, found=one)


def _masked(point: Json) -> Json:
    settings = point.get("settings") or {}
    url = settings.get("url")
    return point | {"settings": settings | ({"url": masked(url)} if isinstance(url, str) else {})}
