"""Envelopes to counts. Pure: no clock, no file. Any order, with any duplicates, gives the same counts.

Facts of a token are summed; facts of a step are counted once per (gang, step), since several gateways
see the same step. A record is counted once per (source, seq). What is remembered for that is bounded:
"any order" holds within LATE_RECORDS of a source, STEPS_REMEMBERED of a gang and GANGS_REMEMBERED gangs.
"""

from bisect import bisect_left

from calmops.foundation.metric_names import EVENTS
from calmops.messages.record import (
    NOT_COUNTED,
    OUTCOMES,
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
from calmops.telemetry.counts import (
    BATCH_ROWS,
    DURATION_NS,
    GANGS_REMEMBERED,
    INTER_TOKEN_NS,
    LATE_RECORDS,
    PROMPT_TOKENS,
    STEP_NS,
    STEPS_REMEMBERED,
    TTFT_NS,
    Counts,
    GangSteps,
    Key,
    ModelCounts,
    ReportCounts,
    ShardCounts,
    SourceProgress,
)
from calmops.telemetry.label_cap import OTHER, admitted, admitted_reason, admitted_shard


def fold(counts: Counts, envelope: Envelope) -> Counts:
    """Count one envelope into ``counts`` (changed in place and returned)."""
    if not _new(counts, envelope.source, envelope.seq):
        counts.duplicates += 1
        return counts
    counts.folded += 1
    record = envelope.record
    if record.at_ns < counts.since_ns or counts.since_ns == 0:
        counts.since_ns = record.at_ns
    if isinstance(record, Dropped):
        reason = admitted_reason(record.reason, counts.dropped)
        records, tokens = counts.dropped.get(reason, (0, 0))
        counts.dropped[reason] = (records + record.records, tokens + record.tokens)
        return counts
    key = admitted(counts, record.model, record.labels, record.at_ns)
    if type(record) is FrameRecord:
        shard = _shard(counts, key, record.shard)
        if record.sequences:
            _fold_tokens(_model(counts, key), shard, record)
        _fold_step(counts, shard, record)
    elif type(record) is Closed:
        _fold_closed(_model(counts, key), _shard(counts, key, record.shard), record)
    elif type(record) is Opened:
        model = _model(counts, key)
        model.accepted += 1
        model.tokens["prompt"] += record.prompt_tokens
        model.prompts.add(PROMPT_TOKENS, record.prompt_tokens)
        if record.prompt_chars:
            model.tokenized_chars += record.prompt_chars
            model.tokenized_tokens += record.prompt_tokens
    elif type(record) is Counted:
        names = counts.events.setdefault(key, {})
        reasons = names.setdefault(record.name if record.name in EVENTS else OTHER, {})
        reason = admitted_reason(record.reason, reasons)
        reasons[reason] = reasons.get(reason, 0) + record.value
    elif type(record) is Reported:
        _fold_reported(counts.reports.setdefault(key, {}), record)
    return counts


def missing(counts: Counts) -> int:
    """Seqs not yet seen below a source's highest one: late, or lost."""
    return sum(max(p.ahead) - p.contiguous - len(p.ahead) for p in counts.sources.values() if p.ahead)


def skip_to(counts: Counts, source: str, seq: int) -> None:
    """Take everything of ``source`` up to ``seq`` as lost for good: retention has passed it by."""
    progress = counts.sources.setdefault(source, SourceProgress())
    if seq <= progress.contiguous:
        return
    present = {s for s in progress.ahead if s <= seq}
    counts.gaps += seq - progress.contiguous - len(present)
    progress.ahead -= present
    progress.contiguous = seq
    _close_up(progress)


def _new(counts: Counts, source: str, seq: int) -> bool:
    progress = counts.sources.get(source)
    if progress is None:
        progress = counts.sources[source] = SourceProgress()
    if seq == progress.contiguous + 1:
        progress.contiguous = seq
        if progress.ahead:
            _close_up(progress)
        return True
    if seq <= progress.contiguous or seq in progress.ahead:
        return False
    progress.ahead.add(seq)
    if len(progress.ahead) > LATE_RECORDS:
        skip_to(counts, source, min(progress.ahead) - 1)
    return True


def _close_up(progress: SourceProgress) -> None:
    while progress.contiguous + 1 in progress.ahead:
        progress.contiguous += 1
        progress.ahead.remove(progress.contiguous)


def _model(counts: Counts, key: Key) -> ModelCounts:
    model = counts.models.get(key)
    if model is None:
        model = counts.models[key] = ModelCounts()
    return model


def _shard(counts: Counts, key: Key, number: int) -> ShardCounts:
    shards = counts.shards.get(key)
    if shards is None:
        shards = counts.shards[key] = {}
    shard = shards.get(number)
    if shard is None:
        shard = shards.setdefault(admitted_shard(counts, key, number), ShardCounts())
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
    model.gap_engine.total += engine_ns
    shard.gap_gateway.total += gateway_ns
    kinds = model.tokens
    kinds["generated"] += generated
    if recomputed:
        kinds["recomputed"] += recomputed
    if cached:
        kinds["cached"] += cached


def _fold_step(counts: Counts, shard: ShardCounts, record: FrameRecord) -> None:
    order = (record.at_ns, record.step)
    if order > shard.latest:
        shard.latest = order
        shard.running, shard.waiting = record.running, record.waiting
        shard.kv_blocks_used, shard.kv_blocks_total = record.kv_blocks_used, record.kv_blocks_total
    if record.duration_ns is None or not _new_step(counts, record):
        return
    shard.steps += 1
    shard.preempted += record.preempted
    shard.duration.add(STEP_NS, record.duration_ns)
    shard.rows.add(BATCH_ROWS, record.rows)


def _new_step(counts: Counts, record: FrameRecord) -> bool:
    gang = counts.gangs.get(record.gang_id)
    if gang is None:
        gang = counts.gangs[record.gang_id] = GangSteps()
        if len(counts.gangs) > GANGS_REMEMBERED:
            others = (gang_id for gang_id in counts.gangs if gang_id != record.gang_id)
            del counts.gangs[min(others, key=lambda gang_id: (counts.gangs[gang_id].latest_ns, gang_id))]
    gang.latest_ns = max(gang.latest_ns, record.at_ns)
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


def _fold_closed(model: ModelCounts, shard: ShardCounts, record: Closed) -> None:
    outcome = record.outcome if record.outcome in OUTCOMES else OTHER
    model.outcomes[outcome] = model.outcomes.get(outcome, 0) + 1
    model.attempts += record.attempts
    if outcome in SUCCESSES:
        shard.ended_well += 1
    elif outcome not in NOT_COUNTED:
        shard.ended_badly += 1
    model.tokens["delivered"] += record.delivered
    model.tokens["discarded"] += record.discarded
    model.duration.add(DURATION_NS, record.duration_ns)
    if record.ttft_ns is not None:
        shard.ttft.add(TTFT_NS, record.ttft_ns)
    if record.ledger != "held":
        model.ledger_unknown += 1


def _fold_reported(reports: dict[str, ReportCounts], record: Reported) -> None:
    report = reports.setdefault(record.name if record.name in REPORTED else OTHER, ReportCounts())
    report.good += record.good
    report.bad += record.bad
    order = (record.at_ns, record.value or 0.0)
    if record.value is not None and order > (report.latest_ns, report.value or 0.0):
        report.latest_ns, report.value = record.at_ns, record.value
