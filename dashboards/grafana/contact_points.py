"""Who is told and when nobody is: receivers.yaml to contact points, maintenance.yaml to mute timings. Pure.

A mute timing silences a rule for every model. So only maintenance of all models becomes one; that of a single model is left
to the rules' own expressions, which know models.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from calmops.objectives.promises.maintenance import Maintenance
from calmops.objectives.rules.alertmanager import ReceiversFile
from dashboards.grafana.ownership import MUTE_PREFIX, Json, uid

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def contact_points(receivers: ReceiversFile) -> list[Json]:
    """A webhook for each receiver, by a name of ours: one of the same name would become a part of somebody else's."""
    return [
        {
            "uid": uid(one.name),
            "name": uid(one.name),
            "type": "webhook",
            "settings": {"url": one.webhook, "httpMethod": "POST"},
            "disableResolveMessage": False,
        }
        for one in receivers.receivers
    ]


def mute_timings(announced: Iterable[Maintenance], now: datetime) -> list[Json]:
    """Maintenance of every model that isn't over at ``now``, one mute timing each."""
    coming = [one for one in announced if one.model is None and one.ends > now]
    return list({(made := _muted(one))["name"]: made for one in coming}.values())


def left_to_rules(announced: Sequence[Maintenance], now: datetime) -> list[str]:
    """What is to be said of maintenance that no mute timing holds."""
    return [
        f"maintenance of {one.model} ({one.begins:%Y-%m-%d %H:%M%z}) is left to the rules' own expressions: a mute timing would silence every model"
        for one in announced
        if one.model is not None and one.ends > now
    ]


def _muted(one: Maintenance) -> Json:
    begins, ends = one.begins.astimezone(UTC), one.ends.astimezone(UTC)
    begins = begins.replace(second=0, microsecond=0)
    ends = (ends + MINUTE - timedelta(microseconds=1)).replace(second=0, microsecond=0)
    return {
        "name": f"{MUTE_PREFIX}{begins:%Y%m%dT%H%MZ}-{ends:%Y%m%dT%H%MZ}",
        "time_intervals": [_day(start, end) for start, end in _days(begins, ends)],
    }


def _days(begins: datetime, ends: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Grafana's intervals recur within a day: one for each day that is touched."""
    while begins < ends:
        midnight = begins.replace(hour=0, minute=0) + DAY
        yield begins, min(midnight, ends)
        begins = midnight


def _day(start: datetime, end: datetime) -> Json:
    """Exactly this day: month and year are given too, so that it doesn't come back."""
    until = "24:00" if end.date() != start.date() else f"{end:%H:%M}"
    return {
        "times": [{"start_time": f"{start:%H:%M}", "end_time": until}],
        "days_of_month": [str(start.day)],
        "months": [str(start.month)],
        "years": [str(start.year)],
        "location": "UTC",
    }
