"""Defines the telemetry records, schema ``calmops.telemetry`` version 1: gateway -> ring -> spool -> Kafka -> meter.

Records hold counts, times and positions; no text and no token ids. A record in the spool or in Kafka is wrapped in an
``Envelope``, whose (source, seq) lets the fold count it exactly once. ``seq`` is given when the record is appended to
the spool, so a gap always means loss.
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
REPORTED = ("pii_scans", "hallucination_checks", "drift_checks")  # what others check for and report to the gateway


Rest = tuple[str, ...]  # the values of ModelLabels after the model's name, known where a record is made


class Opened(Struct, frozen=True, tag="opened", kw_only=True):
    """Says that a request was accepted. It is in the spool before the first byte of the answer leaves."""

    request_id: str
    model: str
    gateway_id: str
    at_ns: int  # wall
    prompt_tokens: int
    max_tokens: int
    choices: int
    stream: bool
    prompt_chars: int = 0  # the characters of its text; 0 where the prompt came as ids
    labels: Rest = ()
    traceparent: str | None = None  # the caller's, if it sent one
    baggage: dict[str, str] = {}  # the part of the caller's baggage that the configuration keeps
    kind: str = ""  # what was asked for: "completion" or "chat"; "" in records that are older than this field
    tracestate: str | None = None  # the caller's, beside its traceparent


class Move(NamedTuple):
    """Describes a migration: the attempt that its request left."""

    attempt: int
    replica_id: str  # "" if no replica had taken the attempt yet
    at_ns: int  # wall
    tokens: int  # journaled until then


class Closed(Struct, frozen=True, tag="closed", kw_only=True):
    """Says that a request ended, exactly once. journaled = delivered + discarded, unless ``ledger`` is unknown."""

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
    ttft_ns: int | None  # from acceptance until the first token's bytes were handed over, gateway's monotonic clock
    duration_ns: int  # from acceptance to the end
    ledger: str = "held"  # "held" or "unknown"
    exact_lost: bool = False
    detail: str | None = None  # why it failed or was refused; never content
    shard: int = -1  # of the replica that decoded last; -1: none did
    labels: Rest = ()
    moves: tuple[Move, ...] = ()  # its migrations, in order
    queued_ns: int | None = None  # from acceptance to the start of its first step, gateway's clock; None without a step
    longest: int = 0  # journaled tokens of its longest choice


class SequenceStep(Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """Holds one sequence's share of a step, without content."""

    request_id: str
    attempt: int
    choice: int
    index: int
    tokens: int  # newly journaled by this frame
    released: int  # newly delivered by this frame
    gap_engine_ns: int | None  # since the choice's previous token, by the engine's clock; None for the first token
    gap_gateway_ns: int | None  # the same by the gateway's clock
    prefilled: int = 0
    recomputed: int = 0
    cached: int = 0


class FrameRecord(Struct, frozen=True, tag="frame", kw_only=True):
    """Holds the published projection of a frame. An idle heartbeat's has no sequences and adds nothing to counts."""

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
    """Counts records that never reached the spool, for one reason."""

    gateway_id: str
    at_ns: int
    reason: str  # "ring_full", "spool_full", "spool_unavailable", ...
    records: int
    tokens: int


class Counted(Struct, frozen=True, tag="counted", kw_only=True):
    """Carries a plain count from the gateway (fenced frames, migrations, tokenization errors, ...)."""

    gateway_id: str
    model: str
    at_ns: int
    name: str  # foundation.metric_names.EVENTS
    reason: str
    value: int
    labels: Rest = ()


class Reported(Struct, frozen=True, tag="reported", kw_only=True):
    """Carries what a scanner, a judge or a drift job reported to the gateway's operator API. It has no content."""

    gateway_id: str
    model: str
    at_ns: int  # wall
    name: str  # REPORTED
    good: int
    bad: int
    value: float | None = None  # a drift check's divergence, in the check's own unit
    labels: Rest = ()


Record = Opened | Closed | FrameRecord | Dropped | Counted | Reported


class Envelope(Struct, frozen=True, array_like=True):
    """Wraps one spooled record. ``source`` is the gateway's id; ``seq`` has no gaps and begins at 1 in each source."""

    schema: str
    source: str
    seq: int
    record: Record
