"""Shows that Prometheus' own tools accept the generated files, and the generated rule tests pass."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alerts.generate import ALERTMANAGER, RULES, SHIPPED
from calmops.local_services.prometheus_programs import program
from calmops.objectives.promises.maintenance import Maintenance
from calmops.objectives.rules.maintenance_rules import maintenance_rules
from calmops.objectives.rules.rule_file import as_yaml
from calmops.objectives.rules.series import MAINTENANCE
from tests.support.alerts.real_servers import TOOLS, promtool

TESTS = sorted((SHIPPED / "rule_tests").glob("*.yaml"))


def test_prometheus_accepts_the_rules() -> None:
    finished = promtool(SHIPPED, "check", "rules", RULES)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_alertmanager_accepts_its_configuration() -> None:
    promtool(SHIPPED, "--version")  # installs the tools
    amtool = [str(program(TOOLS, "amtool")), "check-config", ALERTMANAGER]
    finished = subprocess.run(amtool, cwd=SHIPPED, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_adjacent_and_overlapping_maintenance_leaves_no_gap(tmp_path: Path) -> None:
    began = datetime(1970, 1, 1, tzinfo=UTC)
    spans = [(10, 20), (20, 30), (25, 40), (50, 60)]
    announced = [
        Maintenance(
            begins=began + timedelta(minutes=first), ends=began + timedelta(minutes=last), reason="r", model=model
        )
        for model in ("m", None)
        for first, last in spans
    ]
    groups = {"groups": [{"name": "maintenance", "interval": "1m", "rules": maintenance_rules(announced)}]}
    (tmp_path / "rules.yaml").write_text(as_yaml(groups), encoding="utf-8")
    both = [{"labels": "{}", "value": 2}]
    active = [
        {
            "expr": f"count({MAINTENANCE})",
            "eval_time": f"{minute}m",
            "exp_samples": both if 10 <= minute < 40 or 50 <= minute < 60 else [],
        }
        for minute in range(65)
    ]
    tests = [{"interval": "1m", "input_series": [], "promql_expr_test": active}]
    (tmp_path / "tests.yaml").write_text(
        as_yaml({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}), encoding="utf-8"
    )
    finished = promtool(tmp_path, "test", "rules", "tests.yaml")
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_generated_rule_tests_pass(path: Path) -> None:
    finished = promtool(path.parent, "test", "rules", path.name)
    assert finished.returncode == 0, finished.stdout + finished.stderr
