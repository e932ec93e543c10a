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
