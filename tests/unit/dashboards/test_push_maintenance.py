"""Shows which announced maintenance a push of alerts turns into a mute timing, and which rules it mutes."""

import json
from pathlib import Path

from tests.support.grafana.fake_grafana import FakeGrafana
from tests.support.grafana.typed_pushes import ALERTS, Run, announce_maintenance


def test_maintenance_of_every_model_mutes_what_prometheus_would_and_never_a_zero(
    run: Run, grafana: FakeGrafana, folder: Path
) -> None:
    announce_maintenance(folder)
    assert run(*ALERTS, "--alerts", str(folder)).status == 0
    (timing,) = grafana.alerting.mute_timings.values()
    assert timing["time_intervals"] == [
        {
            "times": [{"start_time": "22:00", "end_time": "24:00"}],
            "days_of_month": ["31"],
            "months": ["12"],
            "years": ["2126"],
            "location": "UTC",
        },
        {
            "times": [{"start_time": "00:00", "end_time": "02:30"}],
            "days_of_month": ["1"],
            "months": ["1"],
            "years": ["2127"],
            "location": "UTC",
        },
    ]
    muted = {
        one["title"]
        for one in grafana.alerting.rules.values()
        if one["notification_settings"].get("mute_time_intervals")
    }
    assert {"RequestsFailing (page)", "RequestsFailing (ticket)", "TokenCostHigh (ticket)"} <= muted
    for never in ("PersonalDataLeaked", "TokenizationFailing", "TelemetryStopped"):
        assert f"{never} (page)" not in muted and f"{never} (page, escalation)" not in muted


def test_maintenance_of_one_model_mutes_no_rule(run: Run, grafana: FakeGrafana, folder: Path) -> None:
    announce_maintenance(folder, "stdlib-5m")
    output = run(*ALERTS, "--alerts", str(folder), "--json")
    assert "stdlib-5m" in json.loads(output.out)["notes"][0]
    assert not grafana.alerting.mute_timings


def test_past_maintenance_makes_no_mute_timing(run: Run, grafana: FakeGrafana, folder: Path) -> None:
    announce_maintenance(folder)
    file = folder / "maintenance.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("2126", "2023").replace("2127", "2024"), encoding="utf-8")
    assert run(*ALERTS, "--alerts", str(folder)).status == 0
    assert not grafana.alerting.mute_timings
