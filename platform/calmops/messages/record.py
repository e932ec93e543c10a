"""Telemetry records, schema ``calmops.telemetry`` version 1: gateway -> ring -> spool -> Kafka -> meter.

No text and no token ids: counts, times, positions. A record in the spool or in Kafka is wrapped in
an ``Envelope``, whose (source, seq) makes the fold exactly-once. ``seq`` is given at spool append,
so a gap always means loss.
"""

from typing import NamedTuple

from msgspec import Struct

SCHEMA = "calmops.telemetry/1"

OUTCOMES = (
    "completed", "length", "loop_guard", "client_cancelled", "refused_input",
    "refused_load", "timeout", "failed", "lost_gateway",
)  # fmt: skip
SUCCESSES = ("completed", "length", "loop_guard")
NOT_COUNTED = ("client_cancelled", "refused_input")
REFUSED = ("refused_input", "refused_load")
REPORTED = ("pii_scans", "hallucination_checks", "drift_checks")  # what others look for, and tell us of


Rest = tuple[str, ...]  # the values of ModelLabels after the model's name, known where a record is made


class Opened(Struct, frozen=True, tag="opened", kw_only=True):
    """A request was accepted; spooled before its first byte."""

    request_id: str
    model: str
    gateway_id: str
    at_ns: int  # wall
    prompt_tokens: int
    max_tokens: int
    choices: int
    stream: bool
    prompt_chars: int = 0  # of its text; 0 where the prompt came as ids
    labels: Rest = ()
    traceparent: str | None = None  # the caller's, if it sent one
    baggage: dict[str, str] = {}  # of the caller's, what the configuration keeps
    kind: str = ""  # what was asked for: "completion" or "chat"; "" of records that are older than this field
    tracestate: str | None = None  # the caller's, beside its traceparent


class Move(NamedTuple):
    """A migration: the attempt that its request went on without."""

    attempt: int
    replica_id: str  # "" of one that no replica had taken yet
    at_ns: int  # wall
    tokens: int  # journaled until then


class Closed(Struct, frozen=True, tag="closed", kw_only=True):
    """A request ended, exactly once. journaled = delivered + discarded, unless ``ledger`` is unknown."""

    request_id: str
    model: str
    gateway_id: str
    at_ns: int  # wall
    outcome: str  # OUTCOMES
    attempts: int
    prompt_tokens: int
    journaled: int
    delivered: int
    discarded: int
    ttft_ns: int | None  # acceptance to first token's bytes handed over, gateway's monotonic clock
    duration_ns: int  # acceptance to end
    ledger: str = "held"  # "held" or "unknown"
    exact_lost: bool = False
    detail: str | None = None  # why it failed or was refused; never content
    shard: int = -1  # of the replica that decoded last; -1: none did
    labels: Rest = ()
    moves: tuple[Move, ...] = ()  # of its migrations, in order
    queued_ns: int | None = None  # acceptance to the start of its first step, gateway's clock; None where it had none
    longest: int = 0  # journaled tokens of its longest choice


class SequenceStep(Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """One sequence's share of a step, without content."""

    request_id: str
    attempt: int
    choice: int
    index: int
    tokens: int  # newly journaled by this frame
    released: int  # newly delivered by this frame
    gap_engine_ns: int | None  # engine clock, since the choice's previous token; None for the first
    gap_gateway_ns: int | None  # gateway clock, likewise
    prefilled: int = 0
    recomputed: int = 0
    cached: int = 0


class FrameRecord(Struct, frozen=True, tag="frame", kw_only=True):
    """The published projection of a frame (an idle heartbeat's has no sequences and adds nothing)."""

    replica_id: str
    gang_id: str
    shard: int
    model: str
    step: int
    at_ns: int  # engine's wall clock
    duration_ns: int | None
    rows: int = 0
    decode_rows: int = 0
    prefill_rows: int = 0
    running: int = 0
    waiting: int = 0
    kv_blocks_used: int = 0
    kv_blocks_total: int = 0
    preempted: int = 0
    sequences: tuple[SequenceStep, ...] = ()
    labels: Rest = ()


class Dropped(Struct, frozen=True, tag="dropped", kw_only=True):
    """Records that never reached the spool, by reason."""

    gateway_id: str
    at_ns: int
    reason: str  # "ring_full", "spool_full", "spool_unavailable", ...
    records: int
    tokens: int


class Counted(Struct, frozen=True, tag="counted", kw_only=True):
    """A plain count from the gateway (fenced frames, migrations, tokenization errors, ...)."""

    gateway_id: str
    model: str
    at_ns: int
    name: str  # foundation.metric_names.EVENTS
    reason: str
    value: int
    labels: Rest = ()


class Reported(Struct, frozen=True, tag="reported", kw_only=True):
    """What a scanner, a judge or a drift job found, told to the gateway's operator API. No content."""

    gateway_id: str
    model: str
    at_ns: int  # wall
    name: str  # REPORTED
    good: int
    bad: int
    value: float | None = None  # of a drift check: the divergence, in the check's own unit
    labels: Rest = ()


Record = Opened | Closed | FrameRecord | Dropped | Counted | Reported


class Envelope(Struct, frozen=True, array_like=True):
    """One spooled record. ``source`` is the gateway id; ``seq`` is gapless from 1 per source."""

    schema: str
    source: str
    seq: int
    record: Record
