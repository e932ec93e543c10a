"""What the meter's process makes of its counts."""

from collections.abc import Callable
from typing import TypeVar

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors.watch import EVALUATE_S, MOST_COUNTERS, Watch
from calmops.messages.record import Counted, Labels, Record, Reported
from calmops.objectives.folder import read_folder
from calmops.objectives.prices import Price, Prices
from calmops.telemetry.counts import Counts
from calmops.telemetry.fold import fold
from tests.core.telemetry.records import T0_NS, closed, envelopes, frame, opened

T = TypeVar("T")
PROD = Labels("r1", "stable", "base", "production")
PROMISES = read_folder().promises


class FoldedMeter:
    """A meter without a log: what it was given is counted."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._seq = 0

    def take(self, watch: Watch, *records: Record) -> None:
        for envelope in envelopes("gw", list(records)):
            self._seq += 1
            fold(self.counts, msgspec.structs.replace(envelope, seq=self._seq))
            watch.see(envelope.record)

    def look(self, reading: Callable[[Counts], T]) -> T:
        return reading(self.counts)


def labelled(record: Record, **more: object) -> Record:
    return msgspec.structs.replace(record, labels=PROD, **more)


def events(watch: Watch) -> dict[tuple[str, str, str, str], float]:
    """By objective, version, shard and result."""
    families = {one.name: one for one in text_string_to_metric_families(watch.metrics().decode())}
    return {
        (s.labels["objective"], s.labels["version"], s.labels["shard"], s.labels["result"]): s.value
        for s in families["calmops_objective_events"].samples
    }


def test_what_is_counted_is_judged_by_model_and_shard_and_what_never_happened_is_there_as_nought() -> None:
    watch, meter = Watch(PROMISES, None, None), FoldedMeter()
    meter.take(
        watch, labelled(opened("a")), labelled(frame(1, gap_ns=None)), labelled(frame(2, gap_ns=20_000_000)),
        labelled(frame(3, gap_ns=400_000_000)), labelled(closed("a"), shard=0), labelled(closed("b", outcome="timeout")),
        labelled(closed("c", outcome="client_cancelled")),
    )  # fmt: skip
    watch.tick(meter, 1000.0)
    found = events(watch)
    assert [found["token-latency-p99", "r1", "0", result] for result in ("good", "bad")] == [2, 2]
    assert [found["request-success", "r1", "0", result] for result in ("good", "bad")] == [1, 0]
    assert [found["request-success", "r1", "none", result] for result in ("good", "bad")] == [0, 1]
    assert [found["pii-leakage", "r1", "none", result] for result in ("good", "bad")] == [0, 0]
    assert [found["tokenization", "r1", "none", result] for result in ("good", "bad")] == [1, 0]
    assert [found["telemetry-completeness", "", "none", result] for result in ("good", "bad")] == [7, 0]


def test_a_leak_that_a_scanner_reports_pages_and_the_console_tells_it() -> None:
    watch, meter = Watch(PROMISES, None, None), FoldedMeter()
    meter.take(watch, labelled(opened("a")))
    watch.tick(meter, 1000.0)
    assert watch.state()["alerts"] == []
    meter.take(watch, Reported(gateway_id="g", model="m", at_ns=T0_NS, name="pii_scans", good=9, bad=1, labels=PROD))
    watch.tick(meter, 1000.0 + EVALUATE_S)
    (alert,) = watch.state()["alerts"]
    assert (alert["alert"], alert["severity"], alert["model"], alert["since_s"]) == ("PersonalDataLeaked", "page", "m", 1000.0 + EVALUATE_S)
    assert alert["runbook"] == "/console/runbooks/PersonalDataLeaked.md"
    told = {one["name"]: one for one in watch.state()["objectives"]}
    assert told["pii-leakage"]["kept"] is False
    assert [row["id"] for row in watch.state()["requests"]] == ["a"]


def test_a_tokenization_error_is_a_bad_event_under_its_models_labels() -> None:
    watch, meter = Watch(PROMISES, None, None), FoldedMeter()
    meter.take(watch, Counted(gateway_id="g", model="m", at_ns=T0_NS, name="tokenization_errors", reason="release_mismatch", value=2, labels=PROD))
    watch.tick(meter, 1000.0)
    assert events(watch)["tokenization", "r1", "none", "bad"] == 2


def test_tokens_cost_what_their_replicas_cost() -> None:
    watch, meter = Watch(PROMISES, Prices(currency="EUR", prices=(Price(on_demand_per_hour=3.6),)), None), FoldedMeter()
    meter.take(watch, labelled(frame(1)), labelled(closed("a", delivered=1)))
    watch.tick(meter, 1000.0)
    meter.take(watch, labelled(closed("b", delivered=2000)))
    watch.tick(meter, 1100.0)
    text = watch.metrics().decode()
    families = {one.name: one.samples for one in text_string_to_metric_families(text)}
    assert [s.value for s in families["calmops_cost_per_1k_tokens"]] == [pytest.approx(0.05)]
    assert {s.labels["pricing"]: s.value for s in families["calmops_cost_per_hour"]} == {"owned": 0, "reserved": 0, "on_demand": 3.6}


def test_more_series_than_it_may_remember_are_said_not_to_be_evaluated() -> None:
    watch, meter = Watch(PROMISES, None, None), FoldedMeter()
    shards = MOST_COUNTERS // 8
    meter.take(watch, *(labelled(frame(number + 1), shard=number) for number in range(shards)))
    watch.tick(meter, 1000.0)
    assert "run a Prometheus" in watch.state()["alerts_unknown"]


def test_what_breaks_beside_the_meter_is_counted_and_the_meter_goes_on(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    watch, meter = Watch(PROMISES, None, None), FoldedMeter()
    monkeypatch.setattr(watch._strips, "see", lambda _record: 1 / 0)
    meter.take(watch, labelled(opened("a")), labelled(closed("a")))
    assert b'calmops_watch_failures_total{part="records"} 2.0' in watch.metrics()
    assert len([record for record in caplog.records if record.name == "calmops.watch"]) == 1
    assert meter.counts.folded == 2


def test_the_first_request_that_fails_is_a_rise_from_nought() -> None:
    watch, meter = Watch(PROMISES, None, None), FoldedMeter()
    meter.take(watch, Counted(gateway_id="g", model="m", at_ns=T0_NS, name="tokenization_errors", reason="release_mismatch", value=0, labels=PROD))
    watch.tick(meter, 1000.0)
    assert events(watch)["request-success", "r1", "none", "bad"] == 0
    assert events(watch)["pii-leakage", "r1", "none", "bad"] == 0
    meter.take(watch, labelled(closed("b", outcome="failed"), shard=-1))
    watch.tick(meter, 1001.0)
    assert events(watch)["request-success", "r1", "none", "bad"] == 1
