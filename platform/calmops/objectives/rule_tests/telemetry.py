"""Writes promtool scenarios of the alerts on the counting itself, one file per alert.

Knows what each alert must notice; alert_rules.py knows its expression.
"""

from collections.abc import Callable, Iterator
from typing import Any

from calmops.foundation import metric_names as names
from calmops.objectives.rule_tests.series import Check, Series, Test, maintenance_series, scenario
from calmops.objectives.rules.alert_rules import (
    FROZEN_S,
    TELEMETRY_ALERTS,
    TELEMETRY_LAGGING,
    TELEMETRY_STOPPED,
    TelemetryAlert,
)

WELL = 20  # minutes before anything happens
UP = 'up{job="calmops", instance="a"}'
COUNTED = f'{names.FOLDED.name}{{job="calmops", instance="a"}}'


def telemetry_rule_tests(rule_file: str) -> dict[str, dict[str, Any]]:
    """Return the content of one promtool file per alert, by the alert's name."""
    return {
        one.alert: {"rule_files": [rule_file], "evaluation_interval": "1m", "tests": list(_SCENARIOS[one.alert](one))}
        for one in TELEMETRY_ALERTS
    }


def _stopped(alert: TelemetryAlert) -> Iterator[Test]:
    lasting, frozen = alert.for_s // 60, FROZEN_S // 60
    ends = WELL + 1 + 40

    def test(name: str, up: str, counted: str, *checks: Check, more: tuple[Series, ...] = ()) -> Test:
        series = [Series(*one) for one in ((UP, up), (COUNTED, counted)) if one[1]]
        return scenario(name, alert.alert, [*series, *more], checks)

    def fires_from(minute: int) -> list[Check]:
        return [Check(minute - 1, fires=False), Check(minute + 1, fires=True, severity=alert.severity)]

    always, over = "1x120", Check(ends + 2, fires=False)
    gone = f"0+60x{WELL} stale _x39 1200+60x40"
    yield test("missing series: it fires if no series was ever there", "", "", *fires_from(lasting))
    away = fires_from(WELL + 1 + lasting)
    yield test("a target that is away, and recovery", f"1x{WELL} 0x39 1x40", gone, *away, over)
    yield test("a meter that is away, and recovery", always, gone, *away, over)
    still, stopped = f"0+60x{WELL} {60 * WELL}x39 {60 * WELL}+60x40", fires_from(WELL + frozen + lasting)
    yield test("counts that stand still, and recovery", always, still, *stopped, over)
    yield test("maintenance doesn't silence it", always, still, *stopped, more=(maintenance_series(always),))
    silent = [Check(minute, fires=False) for minute in (WELL, 60, 120)]
    yield test("low traffic: a record now and then is enough", always, "0+1x120", *silent)
    idle = Series(COUNTED.replace('"a"', '"b"'), "0x120")
    yield test(
        "idle: a meter that stands still beside one that counts doesn't alert",
        always,
        "0+60x120",
        *silent,
        more=(idle,),
    )
    reset = f"0+60x{WELL} 0+60x100"
    yield test("counter reset: it is no standstill", always, reset, *silent, Check(WELL + 3, fires=False))
    restarted = f"0+60x{WELL} stale _x{lasting - 2} 1200+60x100"
    yield test("a meter that starts again in time doesn't alert", always, restarted, *silent)


def _lagging(alert: TelemetryAlert) -> Iterator[Test]:
    lasting = alert.for_s // 60
    fires, missing = WELL + 1 + lasting, names.MISSING.name

    def test(name: str, values: str, *checks: Check, more: tuple[Series, ...] = ()) -> Test:
        return scenario(name, alert.alert, [*([Series(missing, values)] if values else []), *more], checks)

    lags = f"0x{WELL} 5x{lasting + 10} 0x30"
    then = [
        Check(WELL, fires=False),
        Check(fires - 1, fires=False),
        Check(fires, fires=True, severity=alert.severity),
    ]
    yield test(
        "records that are missing for as long as they may be, and recovery", lags, *then, Check(fires + 12, fires=False)
    )
    yield test("slow: one record that never comes is enough", f"0x{WELL} 1x{lasting + 10}", *then)
    yield test(
        "late records that come in time don't alert", f"0x{WELL} 5x{lasting - 2} 0x30", Check(fires, fires=False)
    )
    yield test("idle: nothing is missing", "0x120", Check(120, fires=False))
    yield test("maintenance doesn't silence it", lags, *then, more=(maintenance_series("1x120"),))
    yield test("missing series: it doesn't alert", "", Check(60, fires=False))


_SCENARIOS: dict[str, Callable[[TelemetryAlert], Iterator[Test]]] = {
    TELEMETRY_STOPPED: _stopped,
    TELEMETRY_LAGGING: _lagging,
}
