"""Turns receivers.yaml into Grafana's contact points, and maintenance.yaml into its mute timings. Pure.

A mute timing silences a rule for every model. So only maintenance of all models becomes one; that of a single model is
left to the rules' own expressions, which know models. Knows neither rules nor Grafana's API.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from calmops.objectives.promises.maintenance import Maintenance
from calmops.objectives.rules.alertmanager import ReceiversFile
from dashboards.ownership import MUTE_PREFIX, Json, uid

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def contact_points(receivers: ReceiversFile) -> list[Json]:
    """Return a webhook per receiver, under a name of ours: another's name would make it a part of another's point."""
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
    """Return one mute timing per maintenance of every model that isn't over at ``now``."""
    coming = [one for one in announced if one.model is None and one.ends > now]
    return list({(timing := _mute_timing(one))["name"]: timing for one in coming}.values())


def single_model_notes(announced: Sequence[Maintenance], now: datetime) -> list[str]:
    """Return a note per maintenance of a single model, for which there is no mute timing."""
    return [
        f"maintenance of {one.model} ({one.begins:%Y-%m-%d %H:%M%z}) is left to the rules' own expressions: "
        "a mute timing would silence every model"
        for one in announced
        if one.model is not None and one.ends > now
    ]


def _mute_timing(maintenance: Maintenance) -> Json:
    begins, ends = maintenance.begins.astimezone(UTC), maintenance.ends.astimezone(UTC)
    begins = begins.replace(second=0, microsecond=0)
    ends = (ends + MINUTE - timedelta(microseconds=1)).replace(second=0, microsecond=0)
    return {
        "name": f"{MUTE_PREFIX}{begins:%Y%m%dT%H%MZ}-{ends:%Y%m%dT%H%MZ}",
        "time_intervals": [_one_day(start, end) for start, end in _split_by_day(begins, ends)],
    }


def _split_by_day(begins: datetime, ends: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield one interval per day, since Grafana's intervals recur within a day."""
    while begins < ends:
        midnight = begins.replace(hour=0, minute=0) + DAY
        yield begins, min(midnight, ends)
        begins = midnight


def _one_day(start: datetime, end: datetime) -> Json:
    """Return an interval on exactly this day. It has a month and a year, so that it doesn't recur."""
    until = "24:00" if end.date() != start.date() else f"{end:%H:%M}"
    return {
        "times": [{"start_time": f"{start:%H:%M}", "end_time": until}],
        "days_of_month": [str(start.day)],
        "months": [str(start.month)],
        "years": [str(start.year)],
        "location": "UTC",
    }
