"""Tests the fold: the same records give the same counts, whatever their order and however often they come."""

import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from calmops.messages.record import NOT_COUNTED, OUTCOMES, REFUSED, SCHEMA, SUCCESSES, Dropped, Envelope
from calmops.telemetry.metering.counts import (
    GANGS_REMEMBERED,
    LATE_RECORDS,
    STEPS_REMEMBERED,
    WHOLE,
    Counts,
    Histogram,
    dump,
    load,
    summed,
)
from calmops.telemetry.metering.fold import CLOCKS_DIFFER_NS, fold
from calmops.telemetry.metering.source_progress import begin_at, give_up, missing, skip_to
from tests.support.telemetry_records import T0_NS, M, closed, envelopes, frame, logs, opened


def counted(log: list[Envelope]) -> Counts:
    """Return fresh counts into which everything in the log was folded."""
    counts = Counts()
    for envelope in log:
        fold(counts, envelope)
    return counts


@settings(max_examples=300, deadline=None)
@given(logs(), st.randoms(use_true_random=False))
def test_any_order_and_any_duplicates_give_the_same_counts(log: list[Envelope], rng: random.Random) -> None:
    again = log + rng.choices(log, k=rng.randint(0, 20)) if log else []
    rng.shuffle(again)
    plain, mixed = counted(log), counted(again)
    assert mixed.duplicates == len(again) - len(log)
    mixed.duplicates = 0
    assert mixed == plain
    assert missing(mixed) == 0


@settings(max_examples=200, deadline=None)
@given(logs(), st.data())
def test_a_stop_anywhere_and_a_start_from_the_saved_state_change_no_count(
    log: list[Envelope], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(log)))
    resumed = load(dump(counted(log[:cut])))
    for envelope in log[cut:]:
        fold(resumed, envelope)
    assert resumed == counted(log)


@given(st.sets(st.integers(1, 40), min_size=1), st.randoms(use_true_random=False))
def test_missing_records_are_those_below_a_source_s_newest_that_were_not_seen(
    seqs: set[int], rng: random.Random
) -> None:
    order = sorted(seqs)
    rng.shuffle(order)
    counts = counted([Envelope(SCHEMA, "gw", seq, closed("r")) for seq in order])
    assert missing(counts) == max(seqs) - len(seqs)
    skip_to(counts, "gw", 40)
    assert (missing(counts), counts.gaps) == (0, 40 - len(seqs))


def test_a_record_that_comes_after_its_gap_was_given_up_is_not_counted() -> None:
    counts = counted(envelopes("gw", [closed("a")]))
    skip_to(counts, "gw", 5)
    assert fold(counts, Envelope(SCHEMA, "gw", 3, closed("b"))).duplicates == 1
    assert (counts.gaps, counts.models[M].outcomes) == (4, {"completed": 1})


def test_a_gap_is_given_up_once_too_many_records_have_come_above_it() -> None:
    counts = Counts()
    for seq in range(3, LATE_RECORDS + 4):
        fold(counts, Envelope(SCHEMA, "gw", seq, closed("r")))
    assert (counts.gaps, missing(counts), len(counts.sources["gw"].ahead)) == (2, 0, 0)


def test_a_step_seen_by_two_gateways_counts_once_and_its_tokens_for_each() -> None:
    steps = [frame(step, sequences=3) for step in range(1, 6)]
    counts = counted(envelopes("gw-a", list(steps)) + envelopes("gw-b", list(steps)))
    assert counts.shards[M][0].steps == 5
    assert counts.models[M].tokens["generated"] == 30
    assert sum(counts.shards[M][0].gap_gateway.buckets) == 30


def test_an_idle_heartbeat_sets_the_gauges_and_counts_nothing() -> None:
    beat = frame(9, sequences=0, gap_ns=None)
    beat = type(beat)(**{**{f: getattr(beat, f) for f in beat.__struct_fields__}, "duration_ns": None, "running": 7})
    counts = counted(envelopes("gw", [frame(8), beat]))
    shard = counts.shards[M][0]
    assert (shard.steps, shard.running, counts.models[M].tokens["generated"]) == (1, 7, 2)


def test_a_meter_that_starts_in_the_middle_of_a_gang_remembers_few_steps() -> None:
    counts = counted(envelopes("gw", [frame(1_000_000 + step, sequences=0) for step in range(3 * STEPS_REMEMBERED)]))
    assert counts.shards[M][0].steps == 3 * STEPS_REMEMBERED
    assert len(counts.gangs["gang"].seen) < STEPS_REMEMBERED
    late = frame(1_000_000, sequences=0)
    assert fold(counts, Envelope(SCHEMA, "gw-b", 1, late)).shards[M][0].steps == 3 * STEPS_REMEMBERED


def test_above_the_bound_the_gangs_that_were_silent_longest_are_forgotten() -> None:
    records = [frame(number, sequences=0, gang_id=f"gang-{number}") for number in range(1, GANGS_REMEMBERED + 4)]
    counts = counted(envelopes("gw", list(records)))
    assert len(counts.gangs) == GANGS_REMEMBERED
    assert "gang-1" not in counts.gangs
    assert f"gang-{GANGS_REMEMBERED + 3}" in counts.gangs


def test_drops_add_up_by_reason() -> None:
    def dropped(reason: str, records: int, tokens: int) -> Dropped:
        return Dropped(gateway_id="gw", at_ns=T0_NS, reason=reason, records=records, tokens=tokens)

    counts = counted(
        envelopes("gw", [dropped("ring_full", 3, 40), dropped("spool_full", 1, 0), dropped("ring_full", 2, 8)])
    )
    assert counts.dropped == {"ring_full": (5, 48), "spool_full": (1, 0)}


def test_delivered_and_discarded_tokens_of_a_request_are_counted_when_it_ends() -> None:
    counts = counted(envelopes("gw", [opened("a", prompt_tokens=9), frame(1), closed("a", delivered=4)]))
    model = counts.models[M]
    assert (model.accepted, model.tokens["prompt"], model.tokens["delivered"]) == (1, 9, 4)
    ttft = counts.shards[M][-1].ttft
    assert (sum(ttft.buckets), ttft.total) == (1, 30_000_000)


def test_counting_since_is_the_earliest_record_s_time_in_any_order() -> None:
    early, late = closed("a", at_ns=T0_NS), closed("b", at_ns=T0_NS + 5)
    assert counted(envelopes("gw", [late, early])).since_ns == T0_NS


def test_characters_and_tokens_are_counted_together_only_for_prompts_that_came_as_text() -> None:
    text = msgspec.structs.replace(opened("a", prompt_tokens=9), prompt_chars=36)
    model = counted(envelopes("gw", [text, opened("b", prompt_tokens=100)])).models[M]
    assert (model.tokenized_chars, model.tokenized_tokens) == (36, 9)
    assert (sum(model.prompts.buckets), model.prompts.total) == (2, 109)


def test_a_source_whose_beginning_was_deleted_before_the_meter_began_has_no_gap() -> None:
    counts = Counts()
    begin_at(counts, "gw", 9)
    fold(counts, Envelope(SCHEMA, "gw", 10, closed("a")))
    begin_at(counts, "gw", 50)
    assert (counts.gaps, missing(counts), counts.folded, counts.sources["gw"].contiguous) == (0, 0, 1, 10)


def test_missing_records_are_given_up_only_for_sources_that_fell_silent() -> None:
    counts = Counts()
    for source, heard_ns in (("gone", T0_NS), ("here", T0_NS + 10)):
        for seq in (1, 4):
            fold(counts, Envelope(SCHEMA, source, seq, closed("r")), heard_ns)
    assert missing(counts) == 4
    assert give_up(counts, T0_NS + 5)
    assert (counts.gaps, missing(counts)) == (2, 2)
    assert not give_up(counts, T0_NS + 5)
    assert fold(counts, Envelope(SCHEMA, "gone", 2, closed("r"))).duplicates == 1, (
        "a record that comes after it was given up isn't counted as well"
    )


def test_a_refused_request_has_no_duration_and_one_that_ended_badly_without_a_token_is_unanswered() -> None:
    for outcome in OUTCOMES:
        record = msgspec.structs.replace(closed("r", outcome=outcome, delivered=0), ttft_ns=None, shard=0)
        counts = counted(envelopes("gw", [record]))
        model, shard = counts.models[M], counts.shards[M][0]
        assert sum(model.duration.buckets) == (outcome not in REFUSED), outcome
        assert sum(shard.ttft.buckets) == 0, "no time is invented"
        assert shard.unanswered == (outcome not in (*SUCCESSES, *NOT_COUNTED, *REFUSED)), outcome
    late = counted(envelopes("gw", [closed("r", outcome="failed")]))
    assert late.shards[M][-1].unanswered == 0, "it had its first token"
    never = msgspec.structs.replace(closed("r", outcome="failed"), duration_ns=0, ttft_ns=None)
    assert sum(counted(envelopes("gw", [never])).models[M].duration.buckets) == 0, "it wasn't accepted"


def test_time_per_output_token_is_the_time_after_the_first_token_of_requests_that_ended_well() -> None:
    records = [closed("a", delivered=3), closed("b", delivered=1), closed("c", outcome="timeout", delivered=3)]
    model = counted(envelopes("gw", list(records))).models[M]
    assert (sum(model.per_output_token.buckets), model.per_output_token.sum) == (1, 85_000_000)
    assert (sum(model.decoding.buckets), model.decoding.sum) == (3, 3 * 170_000_000)
    assert (sum(model.answers.buckets), model.answers.sum) == (3, 7)


def test_a_request_s_time_is_counted_for_each_stage_that_it_reached() -> None:
    ran, waited = (
        closed("ran", queued_ns=20_000_000),
        msgspec.structs.replace(closed("waited", outcome="timeout"), queued_ns=50_000_000, ttft_ns=None),
    )
    model = counted(envelopes("gw", [ran, waited, closed("never ran")])).models[M]
    assert [(one.sum, sum(one.buckets)) for one in (model.queued, model.prefilling)] == [
        (70_000_000, 2),
        (10_000_000, 1),
    ]


def test_a_meter_believes_no_clock_that_runs_ahead_of_its_own() -> None:
    counts = Counts()
    ahead = msgspec.structs.replace(frame(1), at_ns=T0_NS + 10**15, running=9)
    fold(counts, Envelope(SCHEMA, "gw", 1, ahead), T0_NS)
    assert counts.keys[M] == counts.since_ns == T0_NS
    fold(counts, Envelope(SCHEMA, "gw", 2, msgspec.structs.replace(frame(2), at_ns=T0_NS + 5, running=4)), T0_NS + 5)
    shard = counts.shards[M][0]
    assert (shard.running, shard.heard_ns) == (4, T0_NS + 5)


def test_a_shard_is_heard_of_when_its_record_is_read_unless_the_record_has_waited() -> None:
    for late_ns, heard_ns in (
        (0, T0_NS),
        (-(10**10), T0_NS),
        (CLOCKS_DIFFER_NS, T0_NS),
        (CLOCKS_DIFFER_NS + 1, T0_NS - CLOCKS_DIFFER_NS - 1),
    ):
        counts = fold(
            Counts(), Envelope(SCHEMA, "gw", 1, msgspec.structs.replace(frame(1), at_ns=T0_NS - late_ns)), T0_NS
        )
        assert counts.shards[M][0].heard_ns == heard_ns, late_ns


def test_a_meter_whose_clock_was_set_back_hears_of_a_shard_by_its_next_record() -> None:
    counts, hour_ns = Counts(), 3600 * 10**9
    for seq, now_ns in ((1, T0_NS + hour_ns), (2, T0_NS)):
        fold(
            counts, Envelope(SCHEMA, "gw", seq, msgspec.structs.replace(frame(seq), at_ns=now_ns, running=seq)), now_ns
        )
    shard = counts.shards[M][0]
    assert (shard.heard_ns, shard.running) == (T0_NS, 2)
    assert shard.is_heard(10**9, T0_NS) and not shard.is_heard(10**9, T0_NS + hour_ns)


@given(st.lists(st.integers(0, 2**63), max_size=30))
def test_a_histogram_s_sum_may_be_larger_than_messagepack_s_integers(values: list[int]) -> None:
    histogram = Histogram(buckets=[0, 0])
    for value in values:
        histogram.add((10,), value)
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(histogram), type=Histogram)
    assert (decoded.sum, decoded) == (sum(values), histogram)
    assert summed([histogram, histogram], (10,)).sum == 2 * sum(values)
    assert 0 <= histogram.total < WHOLE


def test_a_state_without_the_newer_fields_is_continued() -> None:
    state = msgspec.msgpack.decode(dump(counted(envelopes("gw", [opened("a"), frame(1), closed("a")]))))
    later = {
        "wholes", "unanswered", "heard_ns", "answers", "decoding", "per_output_token", "retired", "rebuilt_ns",
        "misread", "event_series", "shard_series", "queued", "prefilling", "longest",
    }  # fmt: skip
    counts = load(msgspec.msgpack.encode(without(state, later)))
    for envelope in envelopes("gw", [opened("a"), frame(1), closed("a"), closed("b")]):
        fold(counts, envelope)
    assert (counts.duplicates, counts.folded) == (3, 4)
    assert (counts.models[M].outcomes, counts.shards[M][0].steps) == ({"completed": 2}, 1)


def without(tree: object, names: set[str]) -> object:
    """Return the tree without these names at any depth."""
    if isinstance(tree, dict):
        return {name: without(value, names) for name, value in tree.items() if name not in names}
    return [without(value, names) for value in tree] if isinstance(tree, list) else tree
