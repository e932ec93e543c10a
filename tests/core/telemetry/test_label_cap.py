"""However many label values come, series stay bounded and no number is lost."""

import msgspec

from calmops.messages.record import Counted, Labels, Record
from calmops.telemetry.counts import Counts
from calmops.telemetry.exposition import exposition
from calmops.telemetry.fold import fold
from calmops.telemetry.label_cap import MOST_KEYS, MOST_REASONS, MOST_SHARDS, MOST_VALUES, OTHER, OTHER_SHARD
from tests.core.telemetry.records import T0_NS, closed, envelopes, frame


def counted(records: list[Record]) -> Counts:
    counts = Counts()
    for envelope in envelopes("gw", records):
        fold(counts, envelope)
    return counts


def test_ten_thousand_values_of_a_label_become_a_bounded_number_of_series_with_the_same_total() -> None:
    hostile = [msgspec.structs.replace(closed(f"r{n}", delivered=2), model=f"m{n}", labels=Labels(version=f"v{n}")) for n in range(10_000)]
    counts = counted(list(hostile))
    assert len(counts.models) == MOST_VALUES + 1
    assert sum(model.tokens["delivered"] for model in counts.models.values()) == 20_000
    assert sum(shard.ended_well for by in counts.shards.values() for shard in by.values()) == 10_000
    assert counts.models[OTHER, OTHER, "", "", ""].outcomes == {"completed": 10_000 - MOST_VALUES}


def test_the_combinations_are_capped_too() -> None:
    pairs = [(a, b) for a in range(60) for b in range(60)]
    hostile = [msgspec.structs.replace(closed("r"), model=f"m{a}", labels=Labels(version=f"v{b}")) for a, b in pairs]
    counts = counted(list(hostile))
    assert len(counts.models) == MOST_KEYS + 1
    assert counts.models[OTHER, OTHER, OTHER, OTHER, OTHER].outcomes == {"completed": len(pairs) - MOST_KEYS}


def test_shards_reasons_names_and_outcomes_are_capped() -> None:
    frames = [msgspec.structs.replace(frame(n + 1), shard=n) for n in range(MOST_SHARDS + 50)]
    events = [Counted(gateway_id="g", model="m", at_ns=T0_NS, name="migrations", reason=f"r{n}", value=1) for n in range(500)]
    odd: list[Record] = [closed("r", outcome="exploded"), Counted(gateway_id="g", model="m", at_ns=T0_NS, name="odd", reason="r", value=3)]
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


def released(number: int, at_ns: int, shards: int = 1) -> list[Record]:
    """A release that decodes on so many shards."""
    labels = Labels(version=f"v{number}")
    return [msgspec.structs.replace(frame(1, gang_id=f"{number}-{n}"), labels=labels, shard=n, at_ns=at_ns) for n in range(shards)]


def test_a_release_that_is_long_gone_makes_room_for_one_that_runs() -> None:
    rollouts = [record for n in range(3 * MOST_VALUES) for record in released(n, T0_NS + n * DAY_NS)]
    counts = counted(rollouts)
    assert f"v{3 * MOST_VALUES - 1}" in {key[1] for key in counts.models}
    assert not any(OTHER in key for key in counts.models)
    assert len(counts.models) <= MOST_VALUES


def test_shards_of_releases_that_are_gone_make_room_too() -> None:
    counts = counted([record for n in range(5) for record in released(n, T0_NS + 2 * n * DAY_NS, shards=1000)])
    assert not any(OTHER_SHARD in by for by in counts.shards.values())


def test_what_was_heard_of_today_keeps_its_name_however_much_comes() -> None:
    quiet = released(-1, T0_NS)
    flood = [record for n in range(2 * MOST_VALUES) for record in released(n, T0_NS + DAY_NS // 2 + n)]
    counts = counted([*quiet, *flood])
    assert ("m", "v-1", "", "", "") in counts.models
    assert ("m", OTHER, "", "", "") in counts.models
