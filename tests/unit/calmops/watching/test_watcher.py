"""The watcher judges the meter's counts, and says what it can't judge."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from calmops.messages.record import Counted, Reported
from calmops.telemetry.metering.counts import Counts
from calmops.watching.judgement import EVALUATE_S, LATE, MOST_COUNTERS, NOT_YET, UNREAD
from tests.support.telemetry_records import T0_NS, closed, frame, opened
from tests.support.watched_meter import PROD, PROMISES, S, events, labelled, watched


def test_counts_are_judged_by_model_and_shard_and_events_that_never_happened_are_zero() -> None:
    watcher, meter, _ = watched()
    meter.take(
        watcher, labelled(opened("a")), labelled(frame(1, gap_ns=None)), labelled(frame(2, gap_ns=20_000_000)),
        labelled(frame(3, gap_ns=400_000_000)), labelled(closed("a"), shard=0),
        labelled(closed("b", outcome="timeout")), labelled(closed("c", outcome="client_cancelled")),
    )  # fmt: skip
    watcher.tick(meter)
    counted = events(watcher)
    assert [counted["token-latency-p99", "r1", "0", result] for result in ("good", "bad")] == [2, 2]
    assert [counted["request-success", "r1", "0", result] for result in ("good", "bad")] == [1, 0]
    assert [counted["request-success", "r1", "none", result] for result in ("good", "bad")] == [0, 1]
    assert [counted["pii-leakage", "r1", "none", result] for result in ("good", "bad")] == [0, 0]
    assert [counted["tokenization", "r1", "none", result] for result in ("good", "bad")] == [1, 0]
    assert [counted["telemetry-completeness", "", "none", result] for result in ("good", "bad")] == [7, 0]


def test_a_leak_that_a_scanner_reports_pages_and_the_console_shows_it() -> None:
    watcher, meter, clock = watched()
    meter.take(watcher, labelled(opened("a")))
    watcher.tick(meter)
    assert watcher.state()["alerts"] == []
    meter.take(
        watcher, Reported(gateway_id="g", model="m", at_ns=T0_NS, name="pii_scans", good=9, bad=1, labels=PROD.rest)
    )
    clock.advance(int(EVALUATE_S * S))
    watcher.tick(meter)
    (alert,) = watcher.state()["alerts"]
    assert (alert["alert"], alert["severity"], alert["model"]) == ("PersonalDataLeaked", "page", "m")
    assert alert["since_s"] == T0_NS / S + EVALUATE_S
    assert alert["labels"] == PROD._asdict()
    assert alert["runbook"] == "/console/runbooks/PersonalDataLeaked.md"
    objectives = {objective["name"]: objective for objective in watcher.state()["objectives"]}
    assert objectives["pii-leakage"]["kept"] is False
    assert objectives["pii-leakage"]["labels"] == PROD._asdict()
    assert [row["id"] for row in watcher.state()["requests"]] == ["a"]


def test_alerts_link_to_the_runbooks_address_that_the_promises_name() -> None:
    watcher, meter, clock = watched(PROMISES._replace(runbooks="https://wiki.example/runbooks"))
    meter.take(watcher, labelled(opened("a")))
    watcher.tick(meter)
    meter.take(
        watcher, Reported(gateway_id="g", model="m", at_ns=T0_NS, name="pii_scans", good=9, bad=1, labels=PROD.rest)
    )
    clock.advance(int(EVALUATE_S * S))
    watcher.tick(meter)
    (alert,) = watcher.state()["alerts"]
    assert alert["runbook"] == "https://wiki.example/runbooks/PersonalDataLeaked.md"


def tokenization_errors(value: int) -> Counted:
    return Counted(
        gateway_id="g", model="m", at_ns=T0_NS, name="tokenization_errors", reason="release_mismatch", value=value,
        labels=PROD.rest,
    )  # fmt: skip


def test_a_tokenization_error_is_a_bad_event_under_its_models_labels() -> None:
    watcher, meter, _ = watched()
    meter.take(watcher, tokenization_errors(2))
    watcher.tick(meter)
    assert events(watcher)["tokenization", "r1", "none", "bad"] == 2


def test_the_console_says_that_too_many_series_arent_evaluated() -> None:
    watcher, meter, _ = watched()
    shards = MOST_COUNTERS // 8
    meter.take(watcher, *(labelled(frame(number + 1), shard=number) for number in range(shards)))
    watcher.tick(meter)
    assert "run a Prometheus" in watcher.state()["alerts_unknown"]


def test_a_failure_beside_the_meter_is_counted_and_the_meter_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watcher, meter, _ = watched()
    monkeypatch.setattr(watcher._strips, "see", lambda _record: 1 / 0)
    meter.take(watcher, labelled(opened("a")), labelled(closed("a")))
    assert b'calmops_watch_failures_total{part="records"} 2.0' in watcher.metrics()
    assert len([record for record in caplog.records if record.name == "calmops.watch"]) == 1
    assert meter.counts.folded == 2


def test_the_first_request_that_fails_is_a_rise_from_zero() -> None:
    watcher, meter, clock = watched()
    meter.take(watcher, tokenization_errors(0))
    watcher.tick(meter)
    assert events(watcher)["request-success", "r1", "none", "bad"] == 0
    assert events(watcher)["pii-leakage", "r1", "none", "bad"] == 0
    meter.take(watcher, labelled(closed("b", outcome="failed"), shard=-1))
    clock.advance(S)
    watcher.tick(meter)
    assert events(watcher)["request-success", "r1", "none", "bad"] == 1


def test_a_stream_that_never_began_is_no_quick_first_token() -> None:
    watcher, meter, _ = watched()
    meter.take(
        watcher, labelled(closed("a"), shard=0), labelled(closed("b", outcome="timeout"), shard=0, ttft_ns=None),
        labelled(closed("c", outcome="lost_gateway"), ttft_ns=None),
        labelled(closed("d", outcome="refused_load"), ttft_ns=None),
        labelled(closed("e", outcome="client_cancelled"), ttft_ns=None),
    )  # fmt: skip
    watcher.tick(meter)
    counted = events(watcher)
    assert [counted["time-to-first-token", "r1", "0", result] for result in ("good", "bad")] == [1, 1]
    assert [counted["time-to-first-token", "r1", "none", result] for result in ("good", "bad")] == [0, 1]


def test_records_that_cant_be_read_count_as_lost_once() -> None:
    watcher, meter, _ = watched()
    meter.counts.unreadable, meter.counts.misread, meter.counts.gaps = 7, 5, 2
    watcher.tick(meter)
    assert events(watcher)["telemetry-completeness", "", "none", "bad"] == 7


def test_a_request_that_names_no_model_is_no_model() -> None:
    watcher, meter, _ = watched()
    nameless = Counted(gateway_id="g", model="", at_ns=T0_NS, name="log_failures", reason="OSError", value=1)
    meter.take(
        watcher,
        labelled(closed("a", outcome="refused_input"), model="unknown"),
        labelled(closed("b"), model="m"),
        nameless,
    )
    watcher.tick(meter)
    families = {family.name: family.samples for family in text_string_to_metric_families(watcher.metrics().decode())}
    labels = [sample.labels for sample in families["calmops_objective_events"]]
    assert {label["model"] for label in labels if label["objective"] != "telemetry-completeness"} == {"m"}


def test_the_console_says_when_nobody_has_evaluated_the_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    watcher, meter, clock = watched()
    assert watcher.state()["alerts_unknown"] == NOT_YET
    watcher.tick(meter)
    assert watcher.state()["alerts_unknown"] is None
    with monkeypatch.context() as broken:
        broken.setattr(meter, "look", lambda _reading: 1 / 0)
        clock.advance(int(3 * EVALUATE_S * S) + S)
        with pytest.raises(ZeroDivisionError):
            watcher.tick(meter)
    assert watcher.state()["alerts_unknown"] == LATE
    watcher.tick(meter)
    assert watcher.state()["alerts_unknown"] is None


def test_alerts_are_evaluated_again_once_there_are_fewer_series() -> None:
    watcher, meter, clock = watched()
    meter.take(watcher, *(labelled(frame(number + 1), shard=number) for number in range(MOST_COUNTERS // 8)))
    watcher.tick(meter)
    assert "run a Prometheus" in (watcher.state()["alerts_unknown"] or "")
    meter.counts = Counts()
    clock.advance(int(EVALUATE_S * S))
    watcher.tick(meter)
    assert watcher.state()["alerts_unknown"] is None


def test_objectives_that_couldnt_be_read_are_evaluated_once_they_can() -> None:
    watcher, meter, clock = watched(promises=None)
    meter.take(watcher, labelled(opened("a")))
    watcher.tick(meter)
    assert (watcher.state()["alerts_unknown"], watcher.state()["objectives"], events(watcher)) == (UNREAD, [], {})
    watcher.use(PROMISES)
    clock.advance(S)
    watcher.tick(meter)
    assert watcher.state()["alerts_unknown"] is None
    assert events(watcher)["pii-leakage", "r1", "none", "bad"] == 0
