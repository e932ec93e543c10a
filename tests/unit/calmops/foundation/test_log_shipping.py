"""The log shippers' files in platform/deploy/logs fit the lines that calmops writes."""

import json
import logging
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from calmops.foundation.json_log import JsonLines, log_file

LOGS = Path(__file__).resolve().parents[4] / "platform" / "deploy" / "logs"
FILES = ("vector.yaml", "fluent-bit.yaml", "fluentd.conf")


def line() -> dict[str, Any]:
    record = logging.makeLogRecord(
        {"name": "calmops.requests", "msg": "request ended", "levelname": "INFO", "created": 1.25, "request_id": "r"}
    )
    parsed: dict[str, Any] = json.loads(JsonLines().format(record))
    return parsed


@pytest.mark.parametrize("name", FILES)
def test_each_shipper_follows_the_files_that_are_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALMOPS_HOME", str(tmp_path))
    written = log_file("requests", "gw-1")
    patterns = re.findall(r"(/logs/\S*?jsonl)", (LOGS / name).read_text())
    assert patterns, "it follows no file"
    for pattern in patterns:
        assert Path(str(written)).match(f"*{pattern}"), f"{written} isn't followed"
        assert not Path(f"{written}.1").match(f"*{pattern}"), "a renamed file would be read again"


def test_the_time_is_written_as_each_shipper_reads_it() -> None:
    assert line()["time"] == "1970-01-01T00:00:01.250Z"
    fluent_bit = yaml.safe_load((LOGS / "fluent-bit.yaml").read_text())
    parser = fluent_bit["parsers"][0]
    assert parser["time_key"] in line()
    # Fluent Bit writes fractions of a second as %L, Python as %f.
    python_format = parser["time_format"].replace("%L", "%f")
    assert datetime.strptime(line()["time"], python_format).replace(tzinfo=UTC).timestamp() == 1.25
    assert fluent_bit["pipeline"]["inputs"][0]["parser"] == parser["name"]
    assert "time_format %Y-%m-%dT%H:%M:%S.%NZ" in (LOGS / "fluentd.conf").read_text()
    assert datetime.fromisoformat(line()["time"]).timestamp() == 1.25  # RFC 3339, which is what Vector's %+ reads


def test_every_stage_of_vector_is_connected() -> None:
    vector = yaml.safe_load((LOGS / "vector.yaml").read_text())
    made = {*vector["sources"], *vector["transforms"], *(f"{name}.dropped" for name in vector["transforms"])}
    used = {name for part in ("transforms", "sinks") for one in vector[part].values() for name in one["inputs"]}
    assert used <= made
    assert vector["sources"].keys() <= used


def test_the_readme_names_every_field_that_all_lines_have() -> None:
    text = (LOGS / "README.md").read_text()
    assert not [name for name in line() if f"`{name}`" not in text]
