"""A log has one JSON object per line and names prompts by a keyed hash."""

import json
import stat
from pathlib import Path

import pytest

from calmops.foundation.json_log import KEY_FILE, PromptHash, log_file, open_log


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CALMOPS_HOME", str(tmp_path))


def test_a_line_is_an_object_with_time_level_and_what_was_said() -> None:
    log = open_log("requests", "gw-1")
    log.warning("request ended", extra={"request_id": "r", "ttft_ms": 1.5, "detail": None, "odd": 'a "quoted"\nline'})
    (line,) = log_file("requests", "gw-1").read_text().splitlines()
    entry = json.loads(line)
    assert entry["time"].endswith("Z")
    assert {key: value for key, value in entry.items() if key != "time"} == {
        "level": "warning", "logger": "calmops.requests", "message": "request ended", "request_id": "r", "ttft_ms": 1.5,
        "detail": None, "odd": 'a "quoted"\nline',
    }  # fmt: skip


def test_a_prompts_name_is_the_same_here_and_another_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = PromptHash()
    assert here.of([1, 2, 3]) == PromptHash().of([1, 2, 3]) != here.of([1, 2, 4])
    assert stat.S_IMODE((tmp_path / "state" / KEY_FILE).stat().st_mode) == 0o600
    monkeypatch.setenv("CALMOPS_HOME", str(tmp_path / "elsewhere"))
    assert PromptHash().of([1, 2, 3]) != here.of([1, 2, 3])
