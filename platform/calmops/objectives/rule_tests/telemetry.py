"""Scenarios for promtool of the alerts on the counting itself, one file for each. See scenarios.py."""

from collections.abc import Callable, Iterator
from typing import Any

from calmops.foundation import metric_names as names
from calmops.objectives.rule_tests.series import Asked, Series, Test, maintained, scenario
from calmops.objectives.rules.alert_rules import (
    FROZEN_S,
    TELEMETRY_ALERTS,
    TELEMETRY_LAGGING,
    TELEMETRY_STOPPED,
    TelemetryAlert,
)

WELL = 20  # minutes, before anything happens
UP = 'up{job="calmops", instance="a"}'
COUNTED = f'{names.FOLDED.name}{{job="calmops", instance="a"}}'


def watcher_tests(rule_file: str) -> dict[str, dict[str, Any]]:
    """The content of a promtool file for each watcher, by the alert's name."""
    return {
        one.alert: {"rule_files": [rule_file], "evaluation_interval": "1m", "tests": list(_SCENARIOS[one.alert](one))}
        for one in TELEMETRY_ALERTS
    }


def _stopped(watcher: TelemetryAlert) -> Iterator[Test]:
    lasting, frozen = watcher.for_s // 60, FROZEN_S // 60
    ends = WELL + 1 + 40

    def told(name: str, up: str, counted: str, *asked: Asked, more: tuple[Series, ...] = ()) -> Test:
        series = [Series(*one) for one in ((UP, up), (COUNTED, counted)) if one[1]]
        return scenario(name, watcher.alert, [*series, *more], asked)

    def fires_from(minute: int) -> list[Asked]:
        return [Asked(minute - 1, fires=False), Asked(minute + 1, fires=True, severity=watcher.severity)]

    always, over = "1x120", Asked(ends + 2, fires=False)
    gone = f"0+60x{WELL} stale _x39 1200+60x40"
    yield told("missing series: it fires where nothing was ever there", "", "", *fires_from(lasting))
    yield told(
        "a target that is away, and recovery", f"1x{WELL} 0x39 1x40", gone, *fires_from(WELL + 1 + lasting), over
    )
    yield told("a meter that is away, and recovery", always, gone, *fires_from(WELL + 1 + lasting), over)
    stands = f"0+60x{WELL} {60 * WELL}x39 {60 * WELL}+60x40"
    yield told("counts that stand still, and recovery", always, stands, *fires_from(WELL + frozen + lasting), over)
    yield told(
        "maintenance silences none", always, stands, *fires_from(WELL + frozen + lasting), more=(maintained(always),)
    )
    silent = [Asked(minute, fires=False) for minute in (WELL, 60, 120)]
    yield told("low traffic: a record now and then is enough", always, "0+1x120", *silent)
    idle = Series(COUNTED.replace('"a"', '"b"'), "0x120")
    yield told(
        "idle: one that stands still beside one that counts says nothing", always, "0+60x120", *silent, more=(idle,)
    )
    yield told(
        "counter reset: it is no standstill", always, f"0+60x{WELL} 0+60x100", *silent, Asked(WELL + 3, fires=False)
    )
    yield told(
        "a meter that starts again within the time says nothing",
        always,
        f"0+60x{WELL} stale _x{lasting - 2} 1200+60x100",
        *silent,
    )


def _lagging(watcher: TelemetryAlert) -> Iterator[Test]:
    lasting = watcher.for_s // 60
    fires, series = WELL + 1 + lasting, names.MISSING.name

    def told(name: str, values: str, *asked: Asked, more: tuple[Series, ...] = ()) -> Test:
        return scenario(name, watcher.alert, [*([Series(series, values)] if values else []), *more], asked)

    lags = f"0x{WELL} 5x{lasting + 10} 0x30"
    then = [
        Asked(WELL, fires=False),
        Asked(fires - 1, fires=False),
        Asked(fires, fires=True, severity=watcher.severity),
    ]
    yield told(
        "records that are missing for as long as they may be, and recovery", lags, *then, Asked(fires + 12, fires=False)
    )
    yield told("slow: one record that never comes is enough", f"0x{WELL} 1x{lasting + 10}", *then)
    yield told("late ones that come in time say nothing", f"0x{WELL} 5x{lasting - 2} 0x30", Asked(fires, fires=False))
    yield told("idle: nothing is missing", "0x120", Asked(120, fires=False))
    yield told("maintenance silences none", lags, *then, more=(maintained("1x120"),))
    yield told("missing series: nothing to say", "", Asked(60, fires=False))


_SCENARIOS: dict[str, Callable[[TelemetryAlert], Iterator[Test]]] = {
    TELEMETRY_STOPPED: _stopped,
    TELEMETRY_LAGGING: _lagging,
}
