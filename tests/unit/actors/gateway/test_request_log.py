"""A gateway writes a log line per request, and the content if it is asked to."""

import json
import threading
from pathlib import Path

import msgspec
import pytest

from actors.gateway import capture, request_log
from actors.gateway.live_request import LiveRequest
from actors.gateway.request_log import RequestLog
from calmops.foundation.config_sections import CaptureConfig
from calmops.foundation.json_log import log_file
from calmops.foundation.model_labels import MODEL_LABELS
from calmops.intake.validate import Intake
from calmops.messages.captured import Captured
from calmops.messages.record import Closed
from calmops.messages.request import GenerationRequest, SamplingParams
from calmops.streams.journal import Journal
from calmops.tracing.context import begin

END_IDS = {"m": (0,)}
LOGS_README = Path(__file__).resolve().parents[4] / "platform" / "deploy" / "logs" / "README.md"


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CALMOPS_HOME", str(tmp_path))


def ended(**params: object) -> tuple[LiveRequest, Closed]:
    """Return a request of seven prompt tokens that got no token."""
    request = GenerationRequest(
        request_id="r", model="m", prompt_ids=tuple(range(7)), stream=False, timeout_s=9,
        params=msgspec.convert({"max_tokens": 9, "stop_ids": (0,), **params}, SamplingParams),
    )  # fmt: skip
    intake = Intake(request=request, kind="completion", stream=False, include_usage=False, echo=False, prompt_text="")
    journal = Journal(request, "gw", 0)
    closed = journal.close("completed", 5_000_000, 1, detail=None, undelivered=0)
    return LiveRequest(intake, journal, begin("r", 0)), closed


def lines(process: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in log_file("requests", process).read_text().splitlines()]


def test_a_line_says_how_a_request_was_asked_but_not_what_it_asked(tmp_path: Path) -> None:
    log = RequestLog("gw-lines", CaptureConfig(), END_IDS)
    log.note_ended(*ended(stop=["secret"], stop_ids=(0, 4), temperature=0.5))
    log.note_ended(*ended(stop_ids=()))
    log.note_refused("r2", "m", "refused_input")
    log.close()
    first, second, refused = lines("gw-lines")
    assert first["content_parameters"] == ["stop", "stop_ids"]
    assert (first["ignore_eos"], first["prompt_as"]) == (False, "ids")
    assert (second["content_parameters"], second["ignore_eos"]) == ([], True)
    assert (refused["message"], refused["outcome"]) == ("request refused", "refused_input")
    assert "secret" not in log_file("requests", "gw-lines").read_text()
    assert not list((tmp_path / "captured").glob("*"))


def test_the_logs_readme_names_every_field_of_a_line() -> None:
    log = RequestLog("gw-fields", CaptureConfig(), END_IDS)
    log.note_ended(*ended(stop=["x"]))
    log.close()
    (line,) = lines("gw-fields")
    text = LOGS_README.read_text(encoding="utf-8")
    assert "each label of its model" in text
    assert not [name for name in line if f"`{name}`" not in text and name not in MODEL_LABELS]


def test_a_disk_that_stalls_keeps_nobody_waiting_and_lines_without_room_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_log, "MOST_WAITING", 3)
    log = RequestLog("gw-stalled", CaptureConfig(), END_IDS)
    stalls, ends, ended_in_time = threading.Event(), threading.Event(), list[bool]()

    def stall() -> None:
        stalls.set()
        ended_in_time.append(ends.wait(60))

    log._later("m", stall)
    assert stalls.wait(60)
    for _ in range(5):
        log.note_refused("r", "m", "refused_load")
    assert not ended_in_time, "somebody has waited for the disk"
    assert log.failures() == {("m", "log_failures", "queue_full"): 2}
    assert not log.failures(), "each is reported once"
    ends.set()
    log.close()
    assert ended_in_time == [True]
    assert len(lines("gw-stalled")) == 3


def test_content_that_the_disk_refuses_costs_the_copy_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    log = RequestLog("gw-full", CaptureConfig(enabled=True), END_IDS)

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(capture.Capture, "keep", full)
    log.note_ended(*ended())
    log.close()
    assert log.failures() == {("m", "capture_failures", "OSError"): 1}
    assert [line["message"] for line in lines("gw-full")] == ["request ended", "content not captured"]


def test_what_was_captured_is_whole_or_not_there_and_old_files_go(tmp_path: Path) -> None:
    kept = capture.Capture("gw-kept", 1 << 20, 30)
    live, closed = ended()
    captured = Captured(
        request_id="r", model="m", at_ns=closed.at_ns, outcome="completed", fingerprint=None,
        params=live.intake.request.params, prompt_ids=(1, 2), answers=((3,),),
    )  # fmt: skip
    kept.keep(captured)
    kept.keep(captured)
    written = (tmp_path / "captured" / "gw-kept.jsonl").read_bytes().splitlines()
    assert [msgspec.json.decode(line, type=Captured) for line in written] == [captured, captured]
    old = tmp_path / "captured" / "gw-of-yesterday.jsonl"
    old.write_bytes(b"x")
    capture.purge(1 << 20, 30)
    assert old.exists()
    capture.purge(0, 30)
    assert not old.exists()
    assert (tmp_path / "captured" / "gw-kept.jsonl").exists(), "its gateway lives"
