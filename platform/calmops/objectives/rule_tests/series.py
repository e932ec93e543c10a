"""One scenario as promtool reads it: what is counted minute by minute, and which alerts are asked for when."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from calmops.foundation.metric_names import BAD, GOOD
from calmops.objectives.promises.objective import EVENTS_SERIES
from calmops.objectives.rules.series import MAINTENANCE

Test = dict[str, Any]
Stretch = tuple[int, float, float]  # minutes, good and bad events in each

RATE = 100.0  # events a minute
LATE = 2  # minutes: an evaluation, and the minute in which it began
LABELS = {"model": "m", "version": "1", "variant": "stable", "tier": "base", "environment": "test", "shard": "0"}


class Course(NamedTuple):
    """What happens, and whether the counters begin anew at some minute."""

    stretches: Sequence[Stretch]
    reset_at: int | None = None


class Asked(NamedTuple):
    """Whether the alert fires in that minute. ``severity``: "" for any."""

    minute: int
    fires: bool
    severity: str = ""


class Series(NamedTuple):
    """One series in promtool's notation: a value a minute."""

    name: str
    values: str


def scenario(name: str, alert: str, series: Iterable[Series], asked: Iterable[Asked]) -> Test:
    """What promtool is given of it."""
    return {
        "name": name, "interval": "1m",
        "input_series": [{"series": one.name, "values": one.values} for one in series],
        "promql_expr_test": [_firing(alert, one) for one in asked],
    }  # fmt: skip


def counted(objective: str, course: Course) -> list[Series]:
    """An objective's good and bad events of one shard."""
    return [
        Series(
            _series(objective, result),
            _values([(minutes, counts[which]) for minutes, *counts in course.stretches], course.reset_at),
        )
        for which, result in enumerate((GOOD, BAD))
    ]


def maintained(values: str) -> Series:
    """The model's maintenance."""
    return Series(f'{MAINTENANCE}{{model="{LABELS["model"]}"}}', values)


def _firing(alert: str, asked: Asked) -> Test:
    severity = f', severity="{asked.severity}"' if asked.severity else ""
    firing = f'ALERTS{{alertname="{alert}", alertstate="firing"{severity}}}'
    samples = [{"labels": "{}", "value": 1}] if asked.fires else []
    return {"expr": f"count({firing})", "eval_time": f"{asked.minute}m", "exp_samples": samples}


def _series(objective: str, result: str) -> str:
    labels = {"objective": objective, **LABELS, "result": result}
    chosen = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{EVENTS_SERIES}{{{chosen}}}"


def _values(stretches: Sequence[tuple[int, float]], reset_at: int | None) -> str:
    """A counter; ``reset_at``: it begins anew at that minute."""
    told, value, minute = ["0"], 0.0, 0
    for minutes, each in stretches:
        if minute == reset_at:
            value = -each  # the first of the new ones is zero
        told.append(f"{value + each:g}+{each:g}x{minutes - 1}")
        value += each * minutes
        minute += minutes
    return " ".join(told)
