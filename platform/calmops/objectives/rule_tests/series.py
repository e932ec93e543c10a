"""Writes one scenario as promtool reads it: what is counted minute by minute, and when the alert must fire.

Knows promtool's notation, not why an alert must fire.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from calmops.foundation.metric_names import BAD, GOOD
from calmops.objectives.promises.objective import EVENTS_SERIES
from calmops.objectives.rules.series import MAINTENANCE

Test = dict[str, Any]
Stretch = tuple[int, float, float]  # minutes, good events per minute, bad events per minute

RATE = 100.0  # events per minute
LATE_MINUTES = 2  # an evaluation, and the minute in which it began
LABELS = {"model": "m", "version": "1", "variant": "stable", "tier": "base", "environment": "test", "shard": "0"}


class Course(NamedTuple):
    """Says what happens, and at which minute the counters start again from zero, if at all."""

    stretches: Sequence[Stretch]
    reset_at: int | None = None


class Check(NamedTuple):
    """Says whether the alert must fire in that minute. ``severity``: "" for any."""

    minute: int
    fires: bool
    severity: str = ""


class Series(NamedTuple):
    """Holds one series in promtool's notation: one value per minute."""

    name: str
    values: str


def scenario(name: str, alert: str, series: Iterable[Series], checks: Iterable[Check]) -> Test:
    """Return one test of promtool's: the series that it reads, and what each check expects."""
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": one.name, "values": one.values} for one in series],
        "promql_expr_test": [_expectation(alert, one) for one in checks],
    }


def event_series(objective: str, course: Course) -> list[Series]:
    """Return the counters of an objective's good and bad events on one shard."""
    good = [(minutes, good) for minutes, good, _ in course.stretches]
    bad = [(minutes, bad) for minutes, _, bad in course.stretches]
    return [
        Series(_series_name(objective, result), _counter(stretches, course.reset_at))
        for result, stretches in ((GOOD, good), (BAD, bad))
    ]


def maintenance_series(values: str) -> Series:
    """Return the series of the model's maintenance."""
    return Series(f'{MAINTENANCE}{{model="{LABELS["model"]}"}}', values)


def _expectation(alert: str, check: Check) -> Test:
    severity = f', severity="{check.severity}"' if check.severity else ""
    firing = f'ALERTS{{alertname="{alert}", alertstate="firing"{severity}}}'
    samples = [{"labels": "{}", "value": 1}] if check.fires else []
    return {"expr": f"count({firing})", "eval_time": f"{check.minute}m", "exp_samples": samples}


def _series_name(objective: str, result: str) -> str:
    labels = {"objective": objective, **LABELS, "result": result}
    matchers = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{EVENTS_SERIES}{{{matchers}}}"


def _counter(stretches: Sequence[tuple[int, float]], reset_at: int | None) -> str:
    """Return a counter's values. ``reset_at``: the minute at which it starts again from zero."""
    values, value, minute = ["0"], 0.0, 0
    for minutes, events in stretches:
        if minute == reset_at:
            value = -events  # the first value after the reset is zero
        values.append(f"{value + events:g}+{events:g}x{minutes - 1}")
        value += events * minutes
        minute += minutes
    return " ".join(values)
