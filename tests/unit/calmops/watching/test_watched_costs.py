"""Tokens cost what their replicas cost, whatever the clock and the labels do."""

from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from calmops.foundation.clock import ManualClock
from calmops.messages.record import Reported
from calmops.telemetry.metering.retired_labels import retire
from calmops.watching.count_views import readings, usage
from calmops.watching.judgement import EVALUATE_S
from calmops.watching.watcher import Watcher
from tests.support.telemetry_records import T0_NS, closed, frame
from tests.support.watched_meter import PRICES, PROD, PROMISES, FoldedMeter, S, labelled, new_watcher, watched


def test_tokens_cost_what_their_replicas_cost() -> None:
    watcher, meter, clock = watched(prices=PRICES)
    meter.take(watcher, labelled(frame(1)), labelled(closed("a", delivered=1)))
    watcher.tick(meter)
    meter.take(watcher, labelled(closed("b", delivered=2000)))
    clock.advance(100 * S)
    meter.take(watcher, labelled(frame(2), at_ns=clock.wall_ns()))
    watcher.tick(meter)
    assert [s.value for s in samples(watcher, "calmops_cost_per_1k_tokens")] == [pytest.approx(0.05)]
    by_pricing = {s.labels["pricing"]: s.value for s in samples(watcher, "calmops_cost_per_hour")}
    assert by_pricing == {"owned": 0, "reserved": 0, "on_demand": 3.6}


def samples(watcher: Watcher, name: str) -> list[Any]:
    """Return the samples of one of the watcher's metrics."""
    families = {family.name: family.samples for family in text_string_to_metric_families(watcher.metrics().decode())}
    return families[name]


def priced(watcher: Watcher) -> dict[str, float]:
    """Return what a thousand tokens cost, by version."""
    return {s.labels["version"]: s.value for s in samples(watcher, "calmops_cost_per_1k_tokens")}


def test_tokens_of_a_release_that_is_gone_have_no_price_and_dead_replicas_cost_nothing() -> None:
    watcher, meter, clock = watched(prices=PRICES)
    old = PROD._replace(version="r0")
    meter.take(
        watcher,
        msgspec.structs.replace(frame(1), labels=old.rest),
        labelled(frame(1, gang_id="new")),
        labelled(closed("a")),
    )
    for minute in range(70):
        clock.advance(60 * S)
        meter.take(
            watcher,
            labelled(frame(minute + 2, gang_id="new"), at_ns=clock.wall_ns()),
            labelled(closed("b", delivered=1000)),
        )
        watcher.tick(meter)
    assert priced(watcher) == {"r1": pytest.approx(0.06)}
    clock.advance(60 * S)
    watcher.tick(meter)
    assert sum(s.value for s in samples(watcher, "calmops_cost_per_hour")) == 0, "in a total outage nothing runs"
    assert [(figures["running"], figures["waiting"]) for figures in watcher.state()["figures"]] == [(0, 0)]


def test_tokens_of_retired_labels_arent_counted_as_delivered_again() -> None:
    clock = ManualClock(T0_NS)
    meter = FoldedMeter(clock)
    watcher = new_watcher(clock)
    gone = msgspec.structs.replace(closed("a", delivered=9, at_ns=T0_NS - 10), labels=PROD._replace(version="r0").rest)
    meter.take(watcher, gone, labelled(closed("b", delivered=2)))
    before = usage(meter.counts, T0_NS), readings(meter.counts, T0_NS)
    retire(meter.counts, T0_NS - 5)
    assert len(meter.counts.models) == 1
    assert (usage(meter.counts, T0_NS), readings(meter.counts, T0_NS)) == before


def test_a_replica_that_has_done_nothing_yet_costs_all_the_same() -> None:
    clock = ManualClock(T0_NS)
    meter, watcher = FoldedMeter(clock), new_watcher(clock)
    meter.take(watcher, labelled(frame(1, sequences=0), shard=3))
    assert {place.model: used.replicas for place, used in usage(meter.counts, T0_NS).items()} == {"m": 1}


class SetBack(ManualClock):
    """Is the clock of a machine whose wall clock somebody sets."""

    back_ns = 0

    def wall_ns(self) -> int:
        return super().wall_ns() - self.back_ns


def test_a_wall_clock_that_is_set_back_stops_no_alert_and_refunds_no_money() -> None:
    clock = SetBack(T0_NS)
    watcher, meter = new_watcher(clock, PROMISES, PRICES), FoldedMeter(clock)
    meter.take(watcher, labelled(frame(1)), labelled(closed("a")))
    watcher.tick(meter)
    clock.back_ns = 3600 * S
    clock.advance(int(EVALUATE_S * S))
    meter.take(
        watcher, Reported(gateway_id="g", model="m", at_ns=T0_NS, name="pii_scans", good=0, bad=1, labels=PROD.rest),
        labelled(frame(2), at_ns=clock.wall_ns()), labelled(closed("b", delivered=5000)),
    )  # fmt: skip
    watcher.tick(meter)
    assert [alert["alert"] for alert in watcher.state()["alerts"]] == ["PersonalDataLeaked"]
    assert priced(watcher) == {"r1": pytest.approx(3.6 * EVALUATE_S / 3600 / 5)}
