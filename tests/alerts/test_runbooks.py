"""Every alert has its runbook, and what a runbook says can be typed: its commands and queries name what there is."""

import re
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from alerts.generating import RULES
from alerts.reading import SHIPPED
from calmops.cli.main import build
from calmops.foundation.metric_names import METRICS
from calmops.objectives.objective import EVENTS_SERIES, GAUGES

RUNBOOKS = SHIPPED.parent / "runbooks"
PARTS = ("Meaning", "Impact", "First five minutes", "Diagnosis", "Mitigation", "Verification", "Escalation")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SERIES = re.compile(r"\b(?:gen_ai|calmops|up|(?:model|shard|calmops):calmops)\w*(?::\w+)?")


def content() -> list[dict[str, str]]:
    groups = yaml.safe_load((SHIPPED / RULES).read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def runbooks() -> list[Path]:
    return sorted(path for path in RUNBOOKS.glob("*.md") if path.name[0].isupper() and path.name != "README.md")


def blocks(path: Path, kind: str) -> list[str]:
    return [text for found, text in BLOCK.findall(path.read_text(encoding="utf-8")) if found == kind]


def test_each_alert_has_its_runbook_and_each_runbook_its_alert() -> None:
    assert {path.stem for path in runbooks()} == {rule["alert"] for rule in content() if "alert" in rule}


@pytest.mark.parametrize("path", runbooks(), ids=lambda path: path.stem)
def test_a_runbook_has_all_its_parts_in_order(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.stem}\n")
    assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == PARTS


@pytest.mark.parametrize("path", runbooks(), ids=lambda path: path.stem)
def test_a_runbooks_commands_exist_and_say_how_they_exit(path: Path) -> None:
    known = set(get_command(build()).commands)  # type: ignore[attr-defined]
    for block in blocks(path, "console"):
        lines = block.splitlines()
        for command, comment in zip(lines[::2], lines[1::2], strict=True):
            assert command.startswith("$ ") and re.fullmatch(r"# exit \d", comment), block
            program, *rest = command[2:].split()
            assert program == "curl" or (program == "calmops" and rest[0] in known), command


@pytest.mark.parametrize("path", runbooks(), ids=lambda path: path.stem)
def test_a_runbooks_queries_ask_for_series_that_there_are(path: Path) -> None:
    recorded = {rule["record"] for rule in content() if "record" in rule}
    exposed = {f"{one.name}{end}" for one in METRICS for end in (("_bucket", "_sum", "_count") if one.kind == "histogram" else ("",))}
    asked = {name for block in blocks(path, "promql") for name in SERIES.findall(re.sub(r'"[^"]*"', '""', block))}
    assert asked <= recorded | exposed | {EVENTS_SERIES, *GAUGES, "up"}, asked
    assert asked or path.stem == "TelemetryLagging"
