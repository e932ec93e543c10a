"""Prometheus' own tools accept what is generated, and its rule tests hold."""

import subprocess
from pathlib import Path

import pytest

from alerts.generating import ALERTMANAGER, RULES, SHIPPED
from calmops.objectives.local_prometheus import program
from tests.alerts.real_servers import PARTS, promtool

TESTS = sorted((SHIPPED / "rule_tests").glob("*.yaml"))


def test_prometheus_accepts_the_rules() -> None:
    done = promtool(SHIPPED, "check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alertmanager_accepts_its_configuration() -> None:
    promtool(SHIPPED, "--version")  # has the tools
    amtool = [str(program(PARTS, "amtool")), "check-config", ALERTMANAGER]
    done = subprocess.run(amtool, cwd=SHIPPED, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_each_objectives_scenarios_hold(path: Path) -> None:
    done = promtool(path.parent, "test", "rules", path.name)
    assert done.returncode == 0, done.stdout + done.stderr
