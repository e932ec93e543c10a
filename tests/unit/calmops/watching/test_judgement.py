"""What the meter's process makes of its counts."""

from collections.abc import Callable
from typing import TypeVar

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from calmops.foundation.clock import ManualClock
from calmops.messages.record import Counted, Labels, Record, Reported
from calmops.objectives.promises.prices import Price, Prices
from calmops.objectives.promises.promises import Promises
from calmops.objectives.promises_folder import read_folder
from calmops.telemetry.metering.counts import Counts
from calmops.telemetry.metering.fold import fold
from calmops.telemetry.metering.retired_labels import retire
from calmops.watching.count_views import readings, usage
from calmops.watching.judgement import EVALUATE_S, LATE, MOST_COUNTERS, NOT_YET, UNREAD, Judgement
from tests.support.telemetry_records import T0_NS, closed, envelopes, frame, opened

T = TypeVar("T")
S = 10**9
PROD = Labels("r1", "stable", "base", "production")
PROMISES = read_folder().promises


class FoldedMeter:
    """A meter without a log: what it was given is counted."""

    def __init__(self, clock: ManualClock) -> None:
        self.counts = Counts()
        self._clock = clock
        self._seq = 0

    def take(self, watch: Judgement, *records: Record) -> None:
        for envelope in envelopes("gw", list(records)):
            self._seq += 1
            fold(self.counts, msgspec.structs.replace(envelope, seq=self._seq), self._clock.wall_ns())
            watch.see(envelope.record)

    def look(self, reading: Callable[[Counts], T]) -> T:
        return reading(self.counts)


def watched(
    promises: Promises | None = PROMISES, prices: Prices | None = None
) -> tuple[Judgement, FoldedMeter, ManualClock]:
    """A watch, its meter, and the clock of both."""
    clock = ManualClock(T0_NS)
    return Judgement(promises, prices, None, clock=clock), FoldedMeter(clock), clock


def labelled(record: Record, **more: object) -> Record:
    return msgspec.structs.replace(record, labels=PROD, **more)


def events(watch: Judgement) -> dict[tuple[str, str, str, str], float]:
    """By objective, version, shard and result."""
    families = {one.name: one for one in text_string_to_metric_families(watch.metrics().decode())}
    return {
        (s.labels["objective"], s.labels["version"], s.labels["shard"], s.labels["result"]): s.value
        for s in families["calmops_objective_events"].samples
    }


def test_what_is_counted_is_judged_by_model_and_shard_and_what_never_happened_is_there_as_nought() -> None:
    watch, meter, _ = watched()
    meter.take(
        watch, labelled(opened("a")), labelled(frame(1, gap_ns=None)), labelled(frame(2, gap_ns=20_000_000)),
        labelled(frame(3, gap_ns=400_000_000)), labelled(closed("a"), shard=0), labelled(closed("b", outcome="timeout")),
        labelled(closed("c", outcome="client_cancelled")),
    )  # fmt: skip
    watch.tick(meter)
    found = events(watch)
    assert [found["token-latency-p99", "r1", "0", result] for result in ("good", "bad")] == [2, 2]
    assert [found["request-success", "r1", "0", result] for result in ("good", "bad")] == [1, 0]
    assert [found["request-success", "r1", "none", result] for result in ("good", "bad")] == [0, 1]
    assert [found["pii-leakage", "r1", "none", result] for result in ("good", "bad")] == [0, 0]
    assert [found["tokenization", "r1", "none", result] for result in ("good", "bad")] == [1, 0]
    assert [found["telemetry-completeness", "", "none", result] for result in ("good", "bad")] == [7, 0]


def test_a_leak_that_a_scanner_reports_pages_and_the_console_tells_it() -> None:
    watch, meter, clock = watched()
    meter.take(watch, labelled(opened("a")))
    watch.tick(meter)
    assert watch.state()["alerts"] == []
    meter.take(watch, Reported(gateway_id="g", model="m", at_ns=T0_NS, name="pii_scans", good=9, bad=1, labels=PROD))
    clock.advance(int(EVALUATE_S * S))
    watch.tick(meter)
    (alert,) = watch.state()["alerts"]
    assert (alert["alert"], alert["severity"], alert["model"], alert["since_s"]) == (
        "PersonalDataLeaked",
        "page",
        "m",
        T0_NS / S + EVALUATE_S,
    )
    assert (alert["version"], alert["variant"]) == ("r1", "stable")
    assert alert["runbook"] == "/console/runbooks/PersonalDataLeaked.md"
    told = {one["name"]: one for one in watch.state()["objectives"]}
    assert told["pii-leakage"]["kept"] is False
    assert [told["pii-leakage"][name] for name in ("model", "version", "variant")] == ["m", "r1", "stable"]
    assert [row["id"] for row in watch.state()["requests"]] == ["a"]


def test_whoever_names_a_place_for_runbooks_is_sent_there() -> None:
    watch, meter, clock = watched(PROMISES._replace(runbooks="https://wiki.example/runbooks"))
    meter.take(watch, labelled(opened("a")))
    watch.tick(meter)
    meter.take(watch, Reported(gateway_id="g", model="m", at_ns=T0_NS, name="pii_scans", good=9, bad=1, labels=PROD))
    clock.advance(int(EVALUATE_S * S))
    watch.tick(meter)
    assert [one["runbook"] for one in watch.state()["alerts"]] == [
        "https://wiki.example/runbooks/PersonalDataLeaked.md"
    ]


def test_a_tokenization_error_is_a_bad_event_under_its_models_labels() -> None:
    watch, meter, _ = watched()
    meter.take(
        watch,
        Counted(
            gateway_id="g",
            model="m",
            at_ns=T0_NS,
            name="tokenization_errors",
            reason="release_mismatch",
            value=2,
            labels=PROD,
        ),
    )
    watch.tick(meter)
    assert events(watch)["tokenization", "r1", "none", "bad"] == 2


def test_tokens_cost_what_their_replicas_cost() -> None:
    watch, meter, clock = watched(prices=Prices(currency="EUR", prices=(Price(on_demand_per_hour=3.6),)))
    meter.take(watch, labelled(frame(1)), labelled(closed("a", delivered=1)))
    watch.tick(meter)
    meter.take(watch, labelled(closed("b", delivered=2000)))
    clock.advance(100 * S)
    meter.take(watch, labelled(frame(2), at_ns=clock.wall_ns()))
    watch.tick(meter)
    text = watch.metrics().decode()
    families = {one.name: one.samples for one in text_string_to_metric_families(text)}
    assert [s.value for s in families["calmops_cost_per_1k_tokens"]] == [pytest.approx(0.05)]
    assert {s.labels["pricing"]: s.value for s in families["calmops_cost_per_hour"]} == {
        "owned": 0,
        "reserved": 0,
        "on_demand": 3.6,
    }


def test_more_series_than_it_may_remember_are_said_not_to_be_evaluated() -> None:
    watch, meter, _ = watched()
    shards = MOST_COUNTERS // 8
    meter.take(watch, *(labelled(frame(number + 1), shard=number) for number in range(shards)))
    watch.tick(meter)
    assert "run a Prometheus" in watch.state()["alerts_unknown"]


def test_what_breaks_beside_the_meter_is_counted_and_the_meter_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watch, meter, _ = watched()
    monkeypatch.setattr(watch._strips, "see", lambda _record: 1 / 0)
    meter.take(watch, labelled(opened("a")), labelled(closed("a")))
    assert b'calmops_watch_failures_total{part="records"} 2.0' in watch.metrics()
    assert len([record for record in caplog.records if record.name == "calmops.watch"]) == 1
    assert meter.counts.folded == 2


def test_the_first_request_that_fails_is_a_rise_from_nought() -> None:
    watch, meter, clock = watched()
    meter.take(
        watch,
        Counted(
            gateway_id="g",
            model="m",
            at_ns=T0_NS,
            name="tokenization_errors",
            reason="release_mismatch",
            value=0,
            labels=PROD,
        ),
    )
    watch.tick(meter)
    assert events(watch)["request-success", "r1", "none", "bad"] == 0
    assert events(watch)["pii-leakage", "r1", "none", "bad"] == 0
    meter.take(watch, labelled(closed("b", outcome="failed"), shard=-1))
    clock.advance(S)
    watch.tick(meter)
    assert events(watch)["request-success", "r1", "none", "bad"] == 1


def test_a_stream_that_never_began_is_no_quick_first_token() -> None:
    watch, meter, _ = watched()
    meter.take(
        watch, labelled(closed("a"), shard=0), labelled(closed("b", outcome="timeout"), shard=0, ttft_ns=None),
        labelled(closed("c", outcome="lost_gateway"), ttft_ns=None), labelled(closed("d", outcome="refused_load"), ttft_ns=None),
        labelled(closed("e", outcome="client_cancelled"), ttft_ns=None),
    )  # fmt: skip
    watch.tick(meter)
    found = events(watch)
    assert [found["time-to-first-token", "r1", "0", result] for result in ("good", "bad")] == [1, 1]
    assert [found["time-to-first-token", "r1", "none", result] for result in ("good", "bad")] == [0, 1]


def test_what_cant_be_read_is_lost_once() -> None:
    watch, meter, _ = watched()
    meter.counts.unreadable, meter.counts.misread, meter.counts.gaps = 7, 5, 2
    watch.tick(meter)
    assert events(watch)["telemetry-completeness", "", "none", "bad"] == 7


def test_a_request_that_names_no_model_is_no_model() -> None:
    watch, meter, _ = watched()
    nameless = Counted(gateway_id="g", model="", at_ns=T0_NS, name="log_failures", reason="OSError", value=1)
    meter.take(
        watch,
        labelled(closed("a", outcome="refused_input"), model="unknown"),
        labelled(closed("b"), model="m"),
        nameless,
    )
    watch.tick(meter)
    families = {one.name: one.samples for one in text_string_to_metric_families(watch.metrics().decode())}
    assert {
        s.labels["model"]
        for s in families["calmops_objective_events"]
        if s.labels["objective"] != "telemetry-completeness"
    } == {"m"}


def priced(watch: Judgement) -> dict[str, float]:
    """What a thousand tokens cost, by version."""
    families = {one.name: one.samples for one in text_string_to_metric_families(watch.metrics().decode())}
    return {s.labels["version"]: s.value for s in families["calmops_cost_per_1k_tokens"]}


def test_tokens_of_a_release_that_is_gone_have_no_price_and_the_dead_cost_nothing() -> None:
    watch, meter, clock = watched(prices=Prices(currency="EUR", prices=(Price(on_demand_per_hour=3.6),)))
    old = PROD._replace(version="r0")
    meter.take(
        watch, msgspec.structs.replace(frame(1), labels=old), labelled(frame(1, gang_id="new")), labelled(closed("a"))
    )
    for minute in range(70):
        clock.advance(60 * S)
        meter.take(
            watch,
            labelled(frame(minute + 2, gang_id="new"), at_ns=clock.wall_ns()),
            labelled(closed("b", delivered=1000)),
        )
        watch.tick(meter)
    assert priced(watch) == {"r1": pytest.approx(0.06)}
    clock.advance(60 * S)
    watch.tick(meter)
    families = {one.name: one.samples for one in text_string_to_metric_families(watch.metrics().decode())}
    assert sum(s.value for s in families["calmops_cost_per_hour"]) == 0, "in a total outage nothing runs"
    assert [(one["running"], one["waiting"]) for one in watch.state()["figures"]] == [(0, 0)]


def test_what_retired_labels_had_delivered_isnt_delivered_again() -> None:
    clock = ManualClock(T0_NS)
    meter = FoldedMeter(clock)
    watch = Judgement(PROMISES, None, None, clock=clock)
    gone = msgspec.structs.replace(closed("a", delivered=9, at_ns=T0_NS - 10), labels=PROD._replace(version="r0"))
    meter.take(watch, gone, labelled(closed("b", delivered=2)))
    before = usage(meter.counts, T0_NS), readings(meter.counts, T0_NS)
    retire(meter.counts, T0_NS - 5)
    assert len(meter.counts.models) == 1
    assert (usage(meter.counts, T0_NS), readings(meter.counts, T0_NS)) == before


def test_a_replica_that_has_done_nothing_yet_costs_all_the_same() -> None:
    clock = ManualClock(T0_NS)
    meter, watch = FoldedMeter(clock), Judgement(PROMISES, None, None, clock=clock)
    meter.take(watch, labelled(frame(1, sequences=0), shard=3))
    assert {place.model: one.replicas for place, one in usage(meter.counts, T0_NS).items()} == {"m": 1}


def test_no_alert_is_said_to_be_silent_that_nobody_has_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, meter, clock = watched()
    assert watch.state()["alerts_unknown"] == NOT_YET
    watch.tick(meter)
    assert watch.state()["alerts_unknown"] is None
    with monkeypatch.context() as broken:
        broken.setattr(meter, "look", lambda _reading: 1 / 0)
        clock.advance(int(3 * EVALUATE_S * S) + S)
        with pytest.raises(ZeroDivisionError):
            watch.tick(meter)
    assert watch.state()["alerts_unknown"] == LATE
    watch.tick(meter)
    assert watch.state()["alerts_unknown"] is None


def test_too_many_series_are_forgiven_once_they_are_fewer() -> None:
    watch, meter, clock = watched()
    meter.take(watch, *(labelled(frame(number + 1), shard=number) for number in range(MOST_COUNTERS // 8)))
    watch.tick(meter)
    assert "run a Prometheus" in (watch.state()["alerts_unknown"] or "")
    meter.counts = Counts()
    clock.advance(int(EVALUATE_S * S))
    watch.tick(meter)
    assert watch.state()["alerts_unknown"] is None


class SetBack(ManualClock):
    """A machine whose wall clock somebody sets."""

    back_ns = 0

    def wall_ns(self) -> int:
        return super().wall_ns() - self.back_ns


def test_a_wall_clock_that_is_set_back_keeps_no_alert_from_being_evaluated_and_turns_no_money_back() -> None:
    clock = SetBack(T0_NS)
    watch, meter = (
        Judgement(PROMISES, Prices(currency="EUR", prices=(Price(on_demand_per_hour=3.6),)), None, clock=clock),
        FoldedMeter(clock),
    )
    meter.take(watch, labelled(frame(1)), labelled(closed("a")))
    watch.tick(meter)
    clock.back_ns = 3600 * S
    clock.advance(int(EVALUATE_S * S))
    meter.take(
        watch, Reported(gateway_id="g", model="m", at_ns=T0_NS, name="pii_scans", good=0, bad=1, labels=PROD),
        labelled(frame(2), at_ns=clock.wall_ns()), labelled(closed("b", delivered=5000)),
    )  # fmt: skip
    watch.tick(meter)
    assert [one["alert"] for one in watch.state()["alerts"]] == ["PersonalDataLeaked"]
    assert priced(watch) == {"r1": pytest.approx(3.6 * EVALUATE_S / 3600 / 5)}


def test_objectives_that_couldnt_be_read_are_evaluated_once_they_can() -> None:
    watch, meter, clock = watched(promises=None)
    meter.take(watch, labelled(opened("a")))
    watch.tick(meter)
    assert (watch.state()["alerts_unknown"], watch.state()["objectives"], events(watch)) == (UNREAD, [], {})
    watch.use(PROMISES)
    clock.advance(S)
    watch.tick(meter)
    assert watch.state()["alerts_unknown"] is None
    assert events(watch)["pii-leakage", "r1", "none", "bad"] == 0
