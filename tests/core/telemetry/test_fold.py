"""Fold: the same counts for the same records, whatever their order and however often they come."""

import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from calmops.messages.record import SCHEMA, Dropped, Envelope
from calmops.telemetry.counts import GANGS_REMEMBERED, LATE_RECORDS, STEPS_REMEMBERED, Counts, dump, load
from calmops.telemetry.fold import fold, missing, skip_to
from tests.core.telemetry.records import T0_NS, M, closed, envelopes, frame, logs, opened


def counted(log: list[Envelope]) -> Counts:
    """Everything in the log, folded into fresh counts."""
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
def test_stopping_anywhere_and_going_on_from_the_saved_state_changes_nothing(
    log: list[Envelope], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(log)))
    resumed = load(dump(counted(log[:cut])))
    for envelope in log[cut:]:
        fold(resumed, envelope)
    assert resumed == counted(log)


@given(st.sets(st.integers(1, 40), min_size=1), st.randoms(use_true_random=False))
def test_missing_is_what_lies_unseen_below_a_source_s_newest_record(seqs: set[int], rng: random.Random) -> None:
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


def test_an_idle_heartbeat_moves_the_gauges_and_counts_nothing() -> None:
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


def test_gangs_beyond_the_bound_are_forgotten_the_longest_silent_first() -> None:
    records = [frame(number, sequences=0, gang_id=f"gang-{number}") for number in range(1, GANGS_REMEMBERED + 4)]
    counts = counted(envelopes("gw", list(records)))
    assert len(counts.gangs) == GANGS_REMEMBERED
    assert "gang-1" not in counts.gangs
    assert f"gang-{GANGS_REMEMBERED + 3}" in counts.gangs


def test_drops_add_up_by_reason() -> None:
    def dropped(reason: str, records: int, tokens: int) -> Dropped:
        return Dropped(gateway_id="gw", at_ns=T0_NS, reason=reason, records=records, tokens=tokens)

    counts = counted(envelopes("gw", [dropped("ring_full", 3, 40), dropped("spool_full", 1, 0), dropped("ring_full", 2, 8)]))
    assert counts.dropped == {"ring_full": (5, 48), "spool_full": (1, 0)}


def test_tokens_of_a_request_are_delivered_and_discarded_when_it_ends() -> None:
    counts = counted(envelopes("gw", [opened("a", prompt_tokens=9), frame(1), closed("a", delivered=4)]))
    model = counts.models[M]
    assert (model.accepted, model.tokens["prompt"], model.tokens["delivered"]) == (1, 9, 4)
    ttft = counts.shards[M][-1].ttft
    assert (sum(ttft.buckets), ttft.total) == (1, 30_000_000)


def test_counting_since_is_the_earliest_record_whatever_comes_first() -> None:
    early, late = closed("a", at_ns=T0_NS), closed("b", at_ns=T0_NS + 5)
    assert counted(envelopes("gw", [late, early])).since_ns == T0_NS


def test_characters_are_set_against_the_tokens_of_prompts_that_came_as_text_alone() -> None:
    text = msgspec.structs.replace(opened("a", prompt_tokens=9), prompt_chars=36)
    model = counted(envelopes("gw", [text, opened("b", prompt_tokens=100)])).models[M]
    assert (model.tokenized_chars, model.tokenized_tokens) == (36, 9)
    assert (sum(model.prompts.buckets), model.prompts.total) == (2, 109)
