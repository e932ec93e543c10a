"""Envelopes to counts. Pure: no clock, no file. Any order, with any duplicates, gives the same counts.

Facts of a token are summed; facts of a step are counted once per (gang, step), since several gateways
see the same step. A record is counted once per (source, seq). What is remembered for that is bounded:
"any order" holds within LATE_RECORDS of a source, STEPS_REMEMBERED of a gang and GANGS_REMEMBERED gangs.

Records bear the clocks of those who made them. A meter that says what time it is believes none that runs ahead of its own,
and notes by its own when it heard of a shard.
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
from calmops.telemetry.metering.label_cap import admitted, admitted_event, admitted_reason, admitted_shard
from calmops.telemetry.metering.source_progress import is_new

CLOCKS_DIFFER_NS = 60 * 10**9  # at most; a record that is older has waited, and says when its shard was heard of


class When(NamedTuple):
    """When a record was made, as far as it is believed, and when the meter heard of it. Wall clock."""

    at_ns: int
    heard_ns: int
    now_ns: int | None  # None: nobody says


Kept = FrameRecord | Closed | Opened | Counted | Reported


def fold(counts: Counts, envelope: Envelope, now_ns: int | None = None) -> Counts:
    """Count one envelope into ``counts`` (changed in place and returned).

    ``now_ns``: the meter's wall clock; None where a log is read for itself, and its records' own times are all there is.
    """
    record = envelope.record
    if not is_new(counts, envelope.source, envelope.seq, record.at_ns if now_ns is None else now_ns):
        counts.duplicates += 1
        return counts
    when = _when(record.at_ns, now_ns)
    if when.at_ns < counts.since_ns or counts.since_ns == 0:
        counts.since_ns = when.at_ns
    if isinstance(record, Dropped):
        reason = admitted_reason(record.reason, counts.dropped)
        records, tokens = counts.dropped.get(reason, (0, 0))
        counts.dropped[reason] = (records + record.records, tokens + record.tokens)
    else:
        _fold_kept(counts, admitted(counts, ModelLabels.of(record.model, record.labels), when.at_ns), record, when)
    counts.folded += 1
    return counts


def _when(at_ns: int, now_ns: int | None) -> When:
    if now_ns is None:
        return When(at_ns, at_ns, None)
    if at_ns < now_ns - CLOCKS_DIFFER_NS:
        return When(at_ns, at_ns, now_ns)
    return When(min(at_ns, now_ns), now_ns, now_ns)


def _fold_kept(counts: Counts, key: ModelLabels, record: Kept, when: When) -> None:
    """A record of some model's."""
    if type(record) is FrameRecord:
        shard = _shard(counts, key, record.shard)
        if record.sequences:
            _fold_tokens(_model(counts, key), shard, record)
        _note_gauges(shard, record, when)
        if record.duration_ns is not None and _new_step(counts, record, when.at_ns):
            _fold_step(shard, record, record.duration_ns)
    elif type(record) is Closed:
        _fold_closed(_model(counts, key), _shard(counts, key, record.shard), record)
    elif type(record) is Opened:
        _fold_opened(_model(counts, key), record)
    elif type(record) is Counted:
        key, name, reason = admitted_event(counts, key, record.name, record.reason)
        reasons = counts.events.setdefault(key, {}).setdefault(name, {})
        counts.event_series += reason not in reasons
        reasons[reason] = reasons.get(reason, 0) + record.value
    elif type(record) is Reported:
        _fold_reported(counts.reports.setdefault(key, {}), record, when.at_ns)


def _model(counts: Counts, key: ModelLabels) -> ModelCounts:
    model = counts.models.get(key)
    if model is None:
        model = counts.models[key] = ModelCounts()
    return model


def _shard(counts: Counts, key: ModelLabels, number: int) -> ShardCounts:
    shards = counts.shards.get(key)
    if shards is None:
        shards = counts.shards[key] = {}
    shard = shards.get(number)
    if shard is None:
        number = admitted_shard(counts, key, number)
        counts.shard_series += number not in shards and number != NO_SHARD
        shard = shards.setdefault(number, ShardCounts())
    return shard


def _fold_tokens(model: ModelCounts, shard: ShardCounts, record: FrameRecord) -> None:
    """The hot loop: one turn a sequence. Bucket look-ups are shared by equal gaps of neighbours."""
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


def _note_gauges(shard: ShardCounts, record: FrameRecord, when: When) -> None:
    if when.heard_ns == when.now_ns or when.heard_ns > shard.heard_ns:
        shard.heard_ns = when.heard_ns
    order = (when.at_ns, record.step)
    set_back = when.now_ns is not None and shard.latest[0] > when.now_ns  # the meter's clock was
    if order > shard.latest or set_back:
        shard.latest = order
        shard.running, shard.waiting = record.running, record.waiting
        shard.kv_blocks_used, shard.kv_blocks_total = record.kv_blocks_used, record.kv_blocks_total


def _fold_step(shard: ShardCounts, record: FrameRecord, duration_ns: int) -> None:
    shard.steps += 1
    shard.preempted += record.preempted
    shard.duration.add(STEP_NS, duration_ns)
    shard.rows.add(BATCH_ROWS, record.rows)


def _new_step(counts: Counts, record: FrameRecord, at_ns: int) -> bool:
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
    _time(model, shard, record)


def _time(model: ModelCounts, shard: ShardCounts, record: Closed) -> None:
    """How long it took. One that was never accepted took no time, and isn't told as one of no time."""
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
