"""Shows that every alert has its runbook, whose commands and queries can be typed because they name what exists."""

import re
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from alerts.generate import RULES, SHIPPED
from calmops.cli.main import build
from calmops.foundation.metric_names import BESIDE_COUNTS, METRICS
from calmops.objectives.promises.objective import EVENTS_SERIES, GAUGES
from tests.support.alerts.runbook_text import commands, queries, runbooks

PARTS = ("Meaning", "Impact", "First five minutes", "Diagnosis", "Mitigation", "Verification", "Escalation")
SERIES = re.compile(r"\b(?:gen_ai|calmops|up|(?:model|shard|calmops):calmops)\w*(?::\w+)?")


def rules() -> list[dict[str, str]]:
    groups = yaml.safe_load((SHIPPED / RULES).read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_each_alert_has_its_runbook_and_each_runbook_its_alert() -> None:
    assert {path.stem for path in runbooks()} == {rule["alert"] for rule in rules() if "alert" in rule}


@pytest.mark.parametrize("path", runbooks(), ids=lambda path: path.stem)
def test_a_runbook_has_all_its_parts_in_order(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.stem}\n")
    assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == PARTS


@pytest.mark.parametrize("path", runbooks(), ids=lambda path: path.stem)
def test_a_runbooks_commands_exist(path: Path) -> None:
    known = set(get_command(build()).commands)  # type: ignore[attr-defined]
    assert commands(path)
    for command in commands(path):
        program, *rest = command.line.split()
        assert program == "curl" or (program == "calmops" and rest[0] in known), command


@pytest.mark.parametrize("path", runbooks(), ids=lambda path: path.stem)
def test_a_runbooks_queries_ask_for_series_that_exist(path: Path) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    exposed = {
        f"{one.name}{end}"
        for one in (*METRICS, *BESIDE_COUNTS)
        for end in (("_bucket", "_sum", "_count") if one.kind == "histogram" else ("",))
    }
    asked = {name for query in queries(path) for name in SERIES.findall(re.sub(r'"[^"]*"', '""', query))}
    assert asked
    assert asked <= recorded | exposed | {EVENTS_SERIES, *GAUGES, "up"}, asked
