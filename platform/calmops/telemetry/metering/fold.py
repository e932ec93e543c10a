"""Counts the meter's envelopes, once each. Pure: no clock, no file. Knows neither the log nor what is shown.

Any order of the same envelopes, with any duplicates, gives the same counts. Facts of a token are summed. Facts of a
step are counted once per (gang, step), since several gateways see the same step. A record is counted once per
(source, seq). What is remembered for that is bounded: "any order" holds within LATE_RECORDS of a source,
STEPS_REMEMBERED of a gang and GANGS_REMEMBERED gangs.

A record carries the clock of its writer. A meter that passes its own time believes no clock that runs ahead of it, and
notes by its own clock when it heard of a shard.
"""

from bisect import bisect_left
from typing import NamedTuple

from calmops.foundation.model_labels import OTHER, ModelLabels
from calmops.messages.record import (
    NOT_COUNTED,
    OUTCOMES,
    REFUSED,
    REPORTED,
    SUCCESSES,
    Closed,
    Counted,
    Dropped,
    Envelope,
    FrameRecord,
    Opened,
    Reported,
)
from calmops.telemetry.metering.counts import (
    BATCH_ROWS,
    DURATION_NS,
    GANGS_REMEMBERED,
    INTER_TOKEN_NS,
    NO_SHARD,
    PER_OUTPUT_TOKEN_NS,
    PROMPT_TOKENS,
    STEP_NS,
    STEPS_REMEMBERED,
    TTFT_NS,
    Counts,
    GangSteps,
    ModelCounts,
    ReportCounts,
    ShardCounts,
)
from calmops.telemetry.metering.label_cap import capped_event, capped_labels, capped_reason, capped_shard
from calmops.telemetry.metering.source_progress import note_seen

# Clocks differ by this much at most. An older record has waited, and its own time is when its shard was heard of.
CLOCKS_DIFFER_NS = 60 * 10**9


class RecordTime(NamedTuple):
    """Says when a record was made, as far as the meter believes it, and when the meter heard of it. Wall clock."""

    at_ns: int
    heard_ns: int
    now_ns: int | None  # the meter's time; None if the caller gave none


ModelRecord = FrameRecord | Closed | Opened | Counted | Reported


def fold(counts: Counts, envelope: Envelope, now_ns: int | None = None) -> Counts:
    """Count one envelope into ``counts`` (changed in place and returned).

    ``now_ns``: the meter's wall clock; None when a log is read by itself, where only its records' own times are known.
    """
    record = envelope.record
    if not note_seen(counts, envelope.source, envelope.seq, record.at_ns if now_ns is None else now_ns):
        counts.duplicates += 1
        return counts
    time = _record_time(record.at_ns, now_ns)
    if time.at_ns < counts.since_ns or counts.since_ns == 0:
        counts.since_ns = time.at_ns
    if isinstance(record, Dropped):
        reason = capped_reason(record.reason, counts.dropped)
        records, tokens = counts.dropped.get(reason, (0, 0))
        counts.dropped[reason] = (records + record.records, tokens + record.tokens)
    else:
        labels = capped_labels(counts, ModelLabels.of(record.model, record.labels), time.at_ns)
        _fold_model_record(counts, labels, record, time)
    counts.folded += 1
    return counts


def _record_time(at_ns: int, now_ns: int | None) -> RecordTime:
    if now_ns is None:
        return RecordTime(at_ns, at_ns, None)
    if at_ns < now_ns - CLOCKS_DIFFER_NS:
        return RecordTime(at_ns, at_ns, now_ns)
    return RecordTime(min(at_ns, now_ns), now_ns, now_ns)


def _fold_model_record(counts: Counts, labels: ModelLabels, record: ModelRecord, time: RecordTime) -> None:
    """Count a record that belongs to a model, under this label set."""
    if type(record) is FrameRecord:
        shard = _shard(counts, labels, record.shard)
        if record.sequences:
            _fold_tokens(_model(counts, labels), shard, record)
        _set_gauges(shard, record, time)
        if record.duration_ns is not None and _note_step(counts, record, time.at_ns):
            _fold_step(shard, record, record.duration_ns)
    elif type(record) is Closed:
        _fold_closed(_model(counts, labels), _shard(counts, labels, record.shard), record)
    elif type(record) is Opened:
        _fold_opened(_model(counts, labels), record)
    elif type(record) is Counted:
        labels, name, reason = capped_event(counts, labels, record.name, record.reason)
        reasons = counts.events.setdefault(labels, {}).setdefault(name, {})
        counts.event_series += reason not in reasons
        reasons[reason] = reasons.get(reason, 0) + record.value
    elif type(record) is Reported:
        _fold_reported(counts.reports.setdefault(labels, {}), record, time.at_ns)


def _model(counts: Counts, labels: ModelLabels) -> ModelCounts:
    """Return the model counts of a label set; add empty ones if there are none."""
    model = counts.models.get(labels)
    if model is None:
        model = counts.models[labels] = ModelCounts()
    return model


def _shard(counts: Counts, labels: ModelLabels, number: int) -> ShardCounts:
    """Return the counts of a shard, or of OTHER_SHARD beyond the cap; add empty ones if there are none."""
    shards = counts.shards.get(labels)
    if shards is None:
        shards = counts.shards[labels] = {}
    shard = shards.get(number)
    if shard is None:
        number = capped_shard(counts, labels, number)
        counts.shard_series += number not in shards and number != NO_SHARD
        shard = shards.setdefault(number, ShardCounts())
    return shard


def _fold_tokens(model: ModelCounts, shard: ShardCounts, record: FrameRecord) -> None:
    """Count the tokens and gaps of a frame. This is the hot loop: neighbours with equal gaps share a bucket look-up."""
    generated = recomputed = cached = 0
    engine, gateway = model.gap_engine.buckets, shard.gap_gateway.buckets
    engine_ns = gateway_ns = 0
    last_engine = last_gateway = -1
    engine_bucket = gateway_bucket = 0
    for share in record.sequences:
        tokens = share.tokens
        generated += tokens
        recomputed += share.recomputed
        cached += share.cached
        gap = share.gap_engine_ns
        if gap is not None:
            if gap != last_engine:
                last_engine, engine_bucket = gap, bisect_left(INTER_TOKEN_NS, gap)
            engine[engine_bucket] += 1
            engine_ns += gap
        gap = share.gap_gateway_ns
        if gap is not None:
            if gap != last_gateway:
                last_gateway, gateway_bucket = gap, bisect_left(INTER_TOKEN_NS, gap)
            gateway[gateway_bucket] += 1
            gateway_ns += gap
    model.gap_engine.grow(engine_ns)
    shard.gap_gateway.grow(gateway_ns)
    kinds = model.tokens
    kinds["generated"] += generated
    if recomputed:
        kinds["recomputed"] += recomputed
    if cached:
        kinds["cached"] += cached


def _set_gauges(shard: ShardCounts, record: FrameRecord, time: RecordTime) -> None:
    """Set a shard's gauges, unless they come from a later record."""
    if time.heard_ns == time.now_ns or time.heard_ns > shard.heard_ns:
        shard.heard_ns = time.heard_ns
    order = (time.at_ns, record.step)
    clock_set_back = time.now_ns is not None and shard.latest[0] > time.now_ns
    if order > shard.latest or clock_set_back:
        shard.latest = order
        shard.running, shard.waiting = record.running, record.waiting
        shard.kv_blocks_used, shard.kv_blocks_total = record.kv_blocks_used, record.kv_blocks_total


def _fold_step(shard: ShardCounts, record: FrameRecord, duration_ns: int) -> None:
    shard.steps += 1
    shard.preempted += record.preempted
    shard.duration.add(STEP_NS, duration_ns)
    shard.rows.add(BATCH_ROWS, record.rows)


def _note_step(counts: Counts, record: FrameRecord, at_ns: int) -> bool:
    """Note a gang's step as counted; return whether it is new."""
    gang = counts.gangs.get(record.gang_id)
    if gang is None:
        gang = counts.gangs[record.gang_id] = GangSteps()
        if len(counts.gangs) > GANGS_REMEMBERED:
            others = (gang_id for gang_id in counts.gangs if gang_id != record.gang_id)
            del counts.gangs[min(others, key=lambda gang_id: (counts.gangs[gang_id].latest_ns, gang_id))]
    gang.latest_ns = max(gang.latest_ns, at_ns)
    step = record.step
    if step <= gang.floor or step in gang.seen:
        return False
    if step == gang.floor + 1:
        gang.floor = step
    else:
        gang.seen.add(step)
        if len(gang.seen) > 2 * STEPS_REMEMBERED:
            gang.floor, *kept = sorted(gang.seen)[-STEPS_REMEMBERED:]
            gang.seen = set(kept)
    while gang.floor + 1 in gang.seen:
        gang.floor += 1
        gang.seen.remove(gang.floor)
    return True


def _fold_opened(model: ModelCounts, record: Opened) -> None:
    model.accepted += 1
    model.tokens["prompt"] += record.prompt_tokens
    model.prompts.add(PROMPT_TOKENS, record.prompt_tokens)
    if record.prompt_chars:
        model.tokenized_chars += record.prompt_chars
        model.tokenized_tokens += record.prompt_tokens


def _fold_closed(model: ModelCounts, shard: ShardCounts, record: Closed) -> None:
    outcome = record.outcome if record.outcome in OUTCOMES else OTHER
    model.outcomes[outcome] = model.outcomes.get(outcome, 0) + 1
    model.attempts += record.attempts
    if outcome in SUCCESSES:
        shard.ended_well += 1
    elif outcome not in NOT_COUNTED:
        shard.ended_badly += 1
        shard.unanswered += record.ttft_ns is None and outcome not in REFUSED
    model.tokens["delivered"] += record.delivered
    model.tokens["discarded"] += record.discarded
    if record.ledger != "held":
        model.ledger_unknown += 1
    _fold_times(model, shard, record)


def _fold_times(model: ModelCounts, shard: ShardCounts, record: Closed) -> None:
    """Count how long a request took, if it was accepted: one that wasn't has no duration, not a duration of 0."""
    if record.outcome not in REFUSED and record.duration_ns > 0:
        model.duration.add(DURATION_NS, record.duration_ns)
    if record.attempts:
        model.answers.add(PROMPT_TOKENS, record.journaled)
        model.longest.add(PROMPT_TOKENS, record.longest)
    if record.queued_ns is not None:
        model.queued.add(DURATION_NS, record.queued_ns)
        if record.ttft_ns is not None:
            model.prefilling.add(DURATION_NS, max(0, record.ttft_ns - record.queued_ns))
    if record.ttft_ns is None:
        return
    shard.ttft.add(TTFT_NS, record.ttft_ns)
    after_ns = max(0, record.duration_ns - record.ttft_ns)
    model.decoding.add(DURATION_NS, after_ns)
    if record.outcome in SUCCESSES and record.delivered > 1:
        model.per_output_token.add(PER_OUTPUT_TOKEN_NS, after_ns // (record.delivered - 1))


def _fold_reported(reports: dict[str, ReportCounts], record: Reported, at_ns: int) -> None:
    report = reports.setdefault(record.name if record.name in REPORTED else OTHER, ReportCounts())
    report.good += record.good
    report.bad += record.bad
    order = (at_ns, record.value or 0.0)
    if record.value is not None and order > (report.latest_ns, report.value or 0.0):
        report.latest_ns, report.value = at_ns, record.value
