"""Tests the caps on labels: however many values come, series stay bounded and no number is lost."""

import msgspec
import pytest

from calmops.foundation.metric_names import EVENTS
from calmops.foundation.model_labels import OTHER, ModelLabels
from calmops.messages.record import OUTCOMES, REPORTED, SCHEMA, Counted, Dropped, Envelope, Record, Reported
from calmops.telemetry.exposition.prometheus import exposition
from calmops.telemetry.metering.counts import NO_SHARD, OTHER_SHARD, Counts, dump, load
from calmops.telemetry.metering.fold import fold
from calmops.telemetry.metering.label_cap import MOST_LABEL_SETS, MOST_REASONS, MOST_SHARDS, MOST_VALUES, most_series
from calmops.telemetry.metering.retired_labels import ALL_OTHER, OTHER_PLACE, retire
from tests.support.telemetry_records import T0_NS, closed, envelopes, frame


def counted(records: list[Record]) -> Counts:
    counts = Counts()
    for envelope in envelopes("gw", records):
        fold(counts, envelope)
    return counts


def test_ten_thousand_values_of_a_label_make_a_bounded_number_of_series_with_the_same_total() -> None:
    hostile = [
        msgspec.structs.replace(closed(f"r{n}", delivered=2), model=f"m{n}", labels=ModelLabels(version=f"v{n}").rest)
        for n in range(10_000)
    ]
    counts = counted(list(hostile))
    assert len(counts.models) == MOST_VALUES + 1
    assert sum(model.tokens["delivered"] for model in counts.models.values()) == 20_000
    assert sum(shard.ended_well for by in counts.shards.values() for shard in by.values()) == 10_000
    assert counts.models[ModelLabels(OTHER, OTHER)].outcomes == {"completed": 10_000 - MOST_VALUES}


def test_the_number_of_label_sets_is_capped_too() -> None:
    pairs = [(a, b) for a in range(60) for b in range(60)]
    hostile = [
        msgspec.structs.replace(closed("r"), model=f"m{a}", labels=ModelLabels(version=f"v{b}").rest) for a, b in pairs
    ]
    counts = counted(list(hostile))
    assert len(counts.models) == MOST_LABEL_SETS + 1
    assert counts.models[ALL_OTHER].outcomes == {"completed": len(pairs) - MOST_LABEL_SETS}


def test_shards_reasons_names_and_outcomes_are_capped() -> None:
    frames = [msgspec.structs.replace(frame(n + 1), shard=n) for n in range(MOST_SHARDS + 50)]
    events = [
        Counted(gateway_id="g", model="m", at_ns=T0_NS, name="migrations", reason=f"r{n}", value=1) for n in range(500)
    ]
    odd: list[Record] = [
        closed("r", outcome="exploded"),
        Counted(gateway_id="g", model="m", at_ns=T0_NS, name="odd", reason="r", value=3),
    ]
    counts = counted([*frames, *events, *odd])
    (shards,), (names,) = counts.shards.values(), counts.events.values()
    assert sum(shard.steps for shard in shards.values()) == len(frames)
    assert len(shards) == MOST_SHARDS + 2, "one for requests that ran nowhere, one for all others"
    assert shards[OTHER_SHARD].steps == 50
    assert len(names["migrations"]) == MOST_REASONS + 1
    assert sum(names["migrations"].values()) == 500
    assert names[OTHER] == {"r": 3}
    (model,) = counts.models.values()
    assert model.outcomes == {OTHER: 1}
    assert b'shard="other"' in exposition(counts)


DAY_NS = 24 * 3600 * 10**9


def release(number: int, at_ns: int, shards: int = 1) -> list[Record]:
    """Return a record of each shard of a release."""
    labels = ModelLabels(version=f"v{number}").rest
    return [
        msgspec.structs.replace(frame(1, gang_id=f"{number}-{n}"), labels=labels, shard=n, at_ns=at_ns)
        for n in range(shards)
    ]


def test_a_release_that_is_long_gone_makes_room_for_one_that_runs() -> None:
    rollouts = [record for n in range(3 * MOST_VALUES) for record in release(n, T0_NS + n * DAY_NS)]
    counts = counted(rollouts)
    assert f"v{3 * MOST_VALUES - 1}" in {labels.version for labels in counts.models}
    assert not any(OTHER in labels for labels in counts.models)
    assert len(counts.models) <= MOST_VALUES


def test_shards_of_releases_that_are_gone_make_room_too() -> None:
    counts = counted([record for n in range(5) for record in release(n, T0_NS + 2 * n * DAY_NS, shards=1000)])
    assert not any(OTHER_SHARD in by for by in counts.shards.values())


def test_a_release_that_was_heard_of_today_keeps_its_labels_however_many_come() -> None:
    quiet = release(-1, T0_NS)
    flood = [record for n in range(2 * MOST_VALUES) for record in release(n, T0_NS + DAY_NS // 2 + n)]
    counts = counted([*quiet, *flood])
    assert ModelLabels("m", "v-1") in counts.models
    assert ModelLabels("m", OTHER) in counts.models


def test_a_record_from_a_clock_that_is_days_ahead_retires_no_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calmops.telemetry.metering.label_cap.MOST_VALUES", 3)
    counts = Counts()
    records = [*(record for n in range(3) for record in release(n, T0_NS)), *release(3, T0_NS + 10 * DAY_NS)]
    for envelope in envelopes("gw", records):
        fold(counts, envelope, T0_NS)
    assert {labels.version for labels in counts.models} == {"v0", "v1", "v2", OTHER}


def ended(model: str, version: str, at_ns: int, shard: int, environment: str = "e") -> list[Record]:
    """Return the records of a request of a release on a shard."""
    labels = ModelLabels(version=version, environment=environment).rest
    closing = msgspec.structs.replace(closed("r", delivered=2, at_ns=at_ns), model=model, labels=labels, shard=shard)
    step = msgspec.structs.replace(
        frame(1, gang_id=f"{model}{version}"), model=model, labels=labels, shard=shard, at_ns=at_ns
    )
    return [closing, step]


def test_the_counts_of_retired_labels_are_kept_for_their_model_and_no_sum_falls() -> None:
    log = [
        *ended("m", "old", T0_NS, shard=0), *ended("m", "older", T0_NS, shard=7),
        *ended("m", "old", T0_NS, shard=NO_SHARD), *ended("gone", "old", T0_NS, shard=0),
        *ended("m", "new", T0_NS + 2, shard=0), *ended("m", "old", T0_NS, shard=0, environment="test"),
    ]  # fmt: skip
    counts = counted(log)
    assert counts.shard_series == 5 == load(dump(counts)).shard_series
    before = sums(counts)
    retire(counts, T0_NS + 1)
    assert counts.shard_series == 1
    assert list(counts.keys) == [ModelLabels("m", "new", environment="e")]
    assert {place: sorted(retired.shards) for place, retired in counts.retired.items()} == {
        ("m", "e"): [OTHER_SHARD, NO_SHARD, 0],
        OTHER_PLACE: [OTHER_SHARD],
    }
    assert sums(counts) == before
    retire(counts, T0_NS + 5)
    assert not counts.keys
    assert list(counts.retired) == [OTHER_PLACE]
    assert sums(counts) == before


def sums(counts: Counts) -> tuple[int, ...]:
    """Return sums over all labels, retired ones included."""
    models = [*counts.models.values(), *(retired.model for retired in counts.retired.values())]
    shards = [
        shard
        for by in (*counts.shards.values(), *(retired.shards for retired in counts.retired.values()))
        for shard in by.values()
    ]
    return (
        sum(model.tokens["delivered"] for model in models),
        sum(model.outcomes.get("completed", 0) for model in models),
        sum(model.duration.sum for model in models),
        sum(shard.ended_well for shard in shards),
        sum(shard.steps for shard in shards),
        sum(sum(shard.ttft.buckets) for shard in shards),
    )


def test_events_are_capped_in_total_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calmops.telemetry.metering.label_cap.MOST_EVENTS", 40)
    flood = [
        Counted(gateway_id="g", model=f"m{n % 20}", at_ns=T0_NS, name=EVENTS[n % len(EVENTS)], reason=f"r{n}", value=1)
        for n in range(1000)
    ]
    counts = counted([*flood])
    reasons = [by_reason for by_name in counts.events.values() for by_reason in by_name.values()]
    assert sum(map(len, reasons)) == counts.event_series <= 40 + len(EVENTS)
    assert sum(value for by_reason in reasons for value in by_reason.values()) == 1000
    assert set(counts.events[ALL_OTHER]) <= set(EVENTS)


def test_most_series_is_how_many_are_shown_once_every_cap_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    caps = {"MOST_VALUES": 6, "MOST_LABEL_SETS": 5, "MOST_SHARDS": 9, "MOST_REASONS": 4, "MOST_EVENTS": 30}
    for name, most in caps.items():
        monkeypatch.setattr(f"calmops.telemetry.metering.label_cap.{name}", most)
    counts = Counts()
    for seq, record in enumerate(flood_of_everything(), 1):
        fold(counts, Envelope(SCHEMA, "gw", seq, record))
    shown = sum(not line.startswith(b"#") for line in exposition(counts).splitlines())
    assert len(counts.models) == 6
    assert shown <= most_series()
    assert shown >= 0.9 * most_series(), "the bound says what there can be, not just something larger"


def flood_of_everything() -> list[Record]:
    records: list[Record] = []
    for n in range(60):
        model, labels = f"m{n % 8}", ModelLabels(version=f"v{n % 7}").rest
        records += [
            msgspec.structs.replace(closed("r", outcome=outcome), model=model, labels=labels)
            for outcome in (*OUTCOMES, "odd")
        ]
        records += [
            msgspec.structs.replace(frame(n + 1, gang_id=f"{n}-{k}"), model=model, labels=labels, shard=k + n)
            for k in range(4)
        ]
        records += [
            Counted(gateway_id="g", model=model, at_ns=T0_NS, name=name, reason=f"r{n}", value=1, labels=labels)
            for name in (*EVENTS, "odd")
        ]
        records += [
            Reported(gateway_id="g", model=model, at_ns=T0_NS, name=name, good=1, bad=1, value=1.0, labels=labels)
            for name in (*REPORTED, "odd")
        ]
        records.append(Dropped(gateway_id="g", at_ns=T0_NS, reason=f"r{n}", records=1, tokens=1))
    return records


def test_the_caps_that_ship_allow_as_many_series_as_documented() -> None:
    assert 550_000 < most_series() < 600_000
    assert most_series(objectives=8) - most_series() == 2 * 8 * (2 * (MOST_LABEL_SETS + 1) + MOST_SHARDS)
