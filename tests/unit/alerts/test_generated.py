"""Shows that rules, routes and rule tests are committed as generated, and hold what the objectives promise."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from alerts.generate import HEAD, RULES, SHIPPED, generated, once_generated
from calmops.cli.generated_files import differing
from calmops.cli.main import build
from calmops.foundation.errors import ConfigError
from calmops.objectives.promises.objective import Ratio, Value
from calmops.objectives.promises.windows import seconds
from calmops.objectives.promises_folder import read_folder
from calmops.objectives.rules.alert_rules import Links
from calmops.objectives.rules.rule_file import rule_file
from calmops.objectives.rules.series import Pace


def rules() -> list[dict[str, Any]]:
    content: dict[str, Any] = yaml.safe_load((SHIPPED / RULES).read_text(encoding="utf-8"))
    return [rule for group in content["groups"] for rule in group["rules"]]


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(build(), ["slo", *arguments])
    if isinstance(result.exception, ConfigError):
        return result.exception.exit_code, str(result.exception)
    return result.exit_code, result.output


def test_the_committed_files_are_as_generated() -> None:
    assert not differing(generated(read_folder()), SHIPPED, once_generated(SHIPPED)), "run `calmops slo generate`"


def test_every_alert_has_a_runbook_a_summary_and_receivers() -> None:
    receivers = yaml.safe_load((SHIPPED / "receivers.yaml").read_text(encoding="utf-8"))["receivers"]
    names = {one["name"] for one in receivers}
    alerts = [rule for rule in rules() if "alert" in rule]
    assert alerts
    for rule in alerts:
        assert {"summary", "description", "runbook_url", "dashboard_url"} <= set(rule["annotations"]), rule["alert"]
        assert rule["annotations"]["runbook_url"].endswith(f"/{rule['alert']}.md")
        assert {rule["labels"]["team"], rule["labels"]["escalation"]} <= names
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_pages_sum_over_shards_and_tickets_dont() -> None:
    for rule in rules():
        if "alert" in rule and "burn" in rule["expr"]:
            level = "model" if rule["labels"]["severity"] == "page" else "shard"
            assert f"{level}:calmops_objective_burn" in rule["expr"], rule["alert"]


def test_maintenance_silences_all_alerts_except_zeros_and_telemetry() -> None:
    loud = {rule["alert"] for rule in rules() if "alert" in rule and "calmops:maintenance:active" not in rule["expr"]}
    assert loud == {"TokenizationFailing", "PersonalDataLeaked", "TelemetryStopped", "TelemetryLagging"}


def test_an_alert_is_about_one_environment_and_about_a_shard_only_where_it_has_one() -> None:
    alerts = {(rule["alert"], rule["labels"]["severity"]): rule["annotations"] for rule in rules() if "alert" in rule}
    with_shard = {name for name, annotations in alerts.items() if "$labels.shard" in annotations["summary"]}
    burning = {
        (rule["alert"], "ticket")
        for rule in rules()
        if "alert" in rule and "shard:calmops_objective_burn" in rule["expr"]
    }
    assert with_shard == burning
    descriptions = [annotations["description"] for annotations in alerts.values()]
    assert all("environment=%q" in text for text in descriptions if "topk" in text)


def test_a_dashboards_address_has_no_variable_without_a_value() -> None:
    for rule in rules():
        if "alert" in rule:
            address = rule["annotations"]["dashboard_url"]
            for name in ("model", "version"):
                assert f"{{{{ with $labels.{name} }}}}&var-{name}={{{{ urlquery . }}}}{{{{ end }}}}" in address
            assert "var-" not in re.sub(r"\{\{ with .*?\{\{ end \}\}", "", address)


def test_what_a_page_reads_is_evaluated_within_half_of_prometheus_lookback() -> None:
    groups = yaml.safe_load((SHIPPED / RULES).read_text(encoding="utf-8"))["groups"]
    intervals = {
        rule["record"]: seconds(group["interval"]) for group in groups for rule in group["rules"] if "record" in rule
    }
    pages = [rule["expr"] for rule in rules() if "alert" in rule and rule["labels"]["severity"] == "page"]
    read = {name for name in intervals if any(name in expression for expression in pages)}
    assert "model:calmops_objective_budget:left30d" in read and max(intervals[name] for name in read) <= 150
    assert max(intervals.values()) < 300


def test_every_objective_has_each_scenario_that_it_can_have() -> None:
    folder = read_folder()
    common = {
        "fast burn",
        "slow burn",
        "recovery",
        "idle",
        "low traffic",
        "counter reset",
        "maintenance",
        "missing series",
    }
    for objective in folder.promises.objectives:
        file = SHIPPED / "rule_tests" / f"{objective.name}.yaml"
        tests = yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]
        names = " ".join(test["name"] for test in tests)
        wanted = common - {"low traffic", "counter reset"} if isinstance(objective, Value) else common
        assert {kind for kind in common if kind in names} == wanted, objective.name
        checks = str([test["promql_expr_test"] for test in tests])
        severities = (
            {window.severity for window in folder.promises.windows.of(objective)[0]}
            if isinstance(objective, Ratio)
            else {objective.severity}
        )
        checked = {severity for severity in ("page", "ticket") if f'severity="{severity}"' in checks}
        assert checked == severities, objective.name
        if "page" in severities and isinstance(objective, Ratio):
            assert "at risk: 4.5 times" in names and "not at risk" in names


def test_every_recorded_series_that_a_rule_reads_is_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule} | {"calmops:maintenance:active"}
    for rule in rules():
        for series in re.findall(r"\w+:calmops\w*:\w+|calmops:\w+:\w+", rule["expr"]):
            assert series in recorded, f"{rule.get('alert') or rule['record']} reads {series}"


def test_a_pace_shortens_every_span_by_the_same_factor() -> None:
    promises = read_folder().promises
    text = str(rule_file(promises, Links("http://r", "http://d"), Pace(60, least_s=4)))
    assert "rate5s" in text and "rate1m" in text and "left12h" in text and "[1h]" not in text


def test_the_command_checks_and_generates_a_folder_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "objectives").mkdir()
    own = tmp_path / "objectives" / "mine.yaml"
    own.write_text((SHIPPED / "objectives" / "request-success.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    folder = ("--folder", str(tmp_path))
    assert run("check", *folder)[0] == 0
    assert run("generate", "--check", *folder)[0] == 1
    code, output = run("generate", *folder)
    assert code == 0 and "rule_tests/request-success.yaml: written" in output
    assert run("generate", "--check", *folder) == (0, f"all 5 files of {tmp_path} are as they should be\n")
    by_hand, left_over = (tmp_path / "rule_tests" / name for name in ("by-hand.yaml", "left-over.yaml"))
    by_hand.write_text("tests: []\n", encoding="utf-8")
    left_over.write_text(f"{HEAD}tests: []\n", encoding="utf-8")
    assert run("generate", *folder)[0] == 0 and by_hand.is_file() and not left_over.exists()
    own.write_text(own.read_text(encoding="utf-8").replace("target: 0.99", "target: 1"), encoding="utf-8")
    code, output = run("check", *folder)
    assert code == 2 and "mine.yaml:28: spec.objectives[0].target" in output


def test_the_command_says_which_windows_can_fire() -> None:
    code, output = run("check")
    assert code == 0 and "day (3 x 0.5 >= 1)" in output and "three-days" in output


@pytest.mark.parametrize("name", ["no-such-folder", "."])
def test_a_folder_without_objectives_is_refused(name: str, tmp_path: Path) -> None:
    code, output = run("check", "--folder", str(tmp_path / name))
    assert code == 2 and "has no folder objectives/" in output
