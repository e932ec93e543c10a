"""Holds what one meter has counted, as plain records that can be saved. Knows how to add, not what a record means.

A new field has a default, so that a state saved by an older release is still read. A field whose meaning changes takes
another name.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping

import msgspec

from calmops.foundation import metric_names as names
from calmops.foundation.model_labels import MODEL_LABELS, ModelLabels, ModelPlace

STEPS_REMEMBERED = 4096  # a gang's latest steps out of order: several gateways see each step, and it counts once
GANGS_REMEMBERED = 512  # gangs whose steps are remembered; above it the gang that was silent longest is forgotten
LATE_RECORDS = 10_000  # a source's records above a gap, after which the gap counts as lost
NO_SHARD, OTHER_SHARD = -1, -2  # the shard of requests that ran nowhere, and that of shards beyond the cap
WHOLE = 1 << 62  # MessagePack holds no integer of more than 64 bits, so a histogram's sum is kept in two


class Histogram(msgspec.Struct, kw_only=True):
    """Holds counts per bucket (the last is +Inf) and the sum, in integer units of the edges given to ``add``."""

    buckets: list[int]
    total: int = 0  # the sum modulo WHOLE
    wholes: int = 0  # how many WHOLEs the sum holds beside ``total``

    @property
    def sum(self) -> int:
        """Return the sum of all values, which may be of any size."""
        return self.wholes * WHOLE + self.total

    def add(self, edges: tuple[int, ...], value: int) -> None:
        """Count one value; ``edges`` are inclusive upper bounds in the value's unit."""
        self.buckets[bisect_left(edges, value)] += 1
        self.grow(value)

    def grow(self, value: int) -> None:
        """Add to the sum alone: the buckets of these values were counted already."""
        self.total += value
        if self.total >= WHOLE:
            wholes, self.total = divmod(self.total, WHOLE)
            self.wholes += wholes

    def take(self, other: "Histogram") -> None:
        """Add all that another histogram with the same edges holds."""
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]
        self.wholes += other.wholes
        self.grow(other.total)


def empty(edges: tuple[int, ...]) -> Histogram:
    """Return a histogram with nothing in it."""
    return Histogram(buckets=[0] * (len(edges) + 1))


def nanoseconds(edges_s: tuple[float, ...]) -> tuple[int, ...]:
    """Return edges in seconds as integer nanoseconds."""
    return tuple(round(edge * 1e9) for edge in edges_s)


TTFT_NS = nanoseconds(names.TTFT_EDGES_S)
DURATION_NS = nanoseconds(names.DURATION_EDGES_S)
INTER_TOKEN_NS = nanoseconds(names.INTER_TOKEN_EDGES_S)
PER_OUTPUT_TOKEN_NS = nanoseconds(names.PER_OUTPUT_TOKEN_EDGES_S)
STEP_NS = nanoseconds(names.STEP_EDGES_S)
BATCH_ROWS = names.BATCH_EDGES_ROWS
PROMPT_TOKENS = names.PROMPT_EDGES_TOKENS


class ModelCounts(msgspec.Struct, kw_only=True):
    """Sums the token facts and request facts of one label set. What objectives judge is in ShardCounts, by shard."""

    tokens: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(names.TOKEN_KINDS, 0))
    outcomes: dict[str, int] = {}
    accepted: int = 0
    attempts: int = 0
    prompts: Histogram = msgspec.field(default_factory=lambda: empty(PROMPT_TOKENS))
    # Journaled tokens of ended requests that ran: of all their choices, and of the longest choice alone.
    answers: Histogram = msgspec.field(default_factory=lambda: empty(PROMPT_TOKENS))
    longest: Histogram = msgspec.field(default_factory=lambda: empty(PROMPT_TOKENS))
    # Characters and tokens of prompts that came as text.
    tokenized_chars: int = 0
    tokenized_tokens: int = 0
    ledger_unknown: int = 0
    duration: Histogram = msgspec.field(default_factory=lambda: empty(DURATION_NS))
    # From acceptance to the first step, from there to the first token, from there to the request's end.
    queued: Histogram = msgspec.field(default_factory=lambda: empty(DURATION_NS))
    prefilling: Histogram = msgspec.field(default_factory=lambda: empty(DURATION_NS))
    decoding: Histogram = msgspec.field(default_factory=lambda: empty(DURATION_NS))
    per_output_token: Histogram = msgspec.field(default_factory=lambda: empty(PER_OUTPUT_TOKEN_NS))
    gap_engine: Histogram = msgspec.field(default_factory=lambda: empty(INTER_TOKEN_NS))

    def take(self, other: "ModelCounts") -> None:
        """Add all that another one has counted."""
        _add(self.tokens, other.tokens)
        _add(self.outcomes, other.outcomes)
        for name in ("accepted", "attempts", "tokenized_chars", "tokenized_tokens", "ledger_unknown"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in (
            "prompts",
            "answers",
            "longest",
            "duration",
            "queued",
            "prefilling",
            "decoding",
            "per_output_token",
            "gap_engine",
        ):
            getattr(self, name).take(getattr(other, name))


class ShardCounts(msgspec.Struct, kw_only=True):
    """Sums what clients of one shard saw, and its step facts, each step once.

    Gauges are those of the latest record by ``at_ns``. A request counts for the shard that decoded it last, or for
    NO_SHARD if none did.
    """

    ttft: Histogram = msgspec.field(default_factory=lambda: empty(TTFT_NS))
    # Requests that ended badly before their first token: they have no time, and it was too long for any objective.
    unanswered: int = 0
    gap_gateway: Histogram = msgspec.field(default_factory=lambda: empty(INTER_TOKEN_NS))
    # Requests that a client cancelled or wrote wrongly ended neither well nor badly.
    ended_well: int = 0
    ended_badly: int = 0

    steps: int = 0
    preempted: int = 0
    duration: Histogram = msgspec.field(default_factory=lambda: empty(STEP_NS))
    rows: Histogram = msgspec.field(default_factory=lambda: empty(BATCH_ROWS))
    latest: tuple[int, int] = (-1, -1)  # (at_ns, step) of the record that the gauges come from
    heard_ns: int = -1  # when the meter last heard of the shard, by the meter's wall clock
    running: int = 0
    waiting: int = 0
    kv_blocks_used: int = 0
    kv_blocks_total: int = 0

    def is_heard(self, within_ns: int, now_ns: int) -> bool:
        """Return whether the meter heard of the shard within this time, by the meter's own clock.

        A clock that was set back hides the shard until its next record.
        """
        return self.heard_ns >= 0 and abs(now_ns - self.heard_ns) < within_ns

    def take(self, other: "ShardCounts") -> None:
        """Add all that another one has counted; gauges are not counts."""
        for name in ("unanswered", "ended_well", "ended_badly", "steps", "preempted"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("ttft", "gap_gateway", "duration", "rows"):
            getattr(self, name).take(getattr(other, name))


class GangSteps(msgspec.Struct, kw_only=True):
    """Says which steps of a gang (from 1) were counted: those in ``seen``; all up to ``floor`` are taken as counted."""

    floor: int = 0
    seen: set[int] = msgspec.field(default_factory=set)
    latest_ns: int = 0  # time of its latest record


class SourceProgress(msgspec.Struct, kw_only=True):
    """Says which seqs of a source were folded: all up to ``contiguous``, and those in ``ahead``."""

    contiguous: int = 0
    ahead: set[int] = msgspec.field(default_factory=set)
    heard_ns: int = 0  # when the meter read its latest record


class ReportCounts(msgspec.Struct, kw_only=True):
    """Sums what others reported under one label set and one name. ``value`` is the latest by ``at_ns``."""

    good: int = 0
    bad: int = 0
    latest_ns: int = -1
    value: float | None = None


class Retired(msgspec.Struct, kw_only=True):
    """Holds what was counted for label sets that made room, of one model in one environment.

    It has no series of its own; a caller that sums over label sets adds it.
    """

    model: ModelCounts = msgspec.field(default_factory=ModelCounts)
    shards: dict[int, ShardCounts] = {}


class Counts(msgspec.Struct, kw_only=True):
    """Holds the meter's whole state. It can be saved, and is equal for equal sets of records."""

    edges: dict[str, list[int]] = {}  # the histograms' edges by kind (stored_edges.py); {}: those of release 0.1
    since_ns: int = 0  # the earliest record's time
    rebuilt_ns: int = 0  # when a meter without a saved state began; older records may be deleted already
    keys: dict[ModelLabels, int] = {}  # every label set, and the time of its latest record (wall ns)
    retired_ns: int = 0  # when silent label sets were last looked for
    label_values: list[set[str]] = msgspec.field(default_factory=lambda: [set() for _ in MODEL_LABELS])
    models: dict[ModelLabels, ModelCounts] = {}
    shards: dict[ModelLabels, dict[int, ShardCounts]] = {}
    retired: dict[ModelPlace, Retired] = {}
    reports: dict[ModelLabels, dict[str, ReportCounts]] = {}
    gangs: dict[str, GangSteps] = {}
    sources: dict[str, SourceProgress] = {}
    dropped: dict[str, tuple[int, int]] = {}  # records and tokens, by reason
    events: dict[ModelLabels, dict[str, dict[str, int]]] = {}  # by name and reason
    event_series: int = 0  # how many numbers ``events`` holds
    shard_series: int = 0  # how many shards ``shards`` holds, without NO_SHARD
    folded: int = 0
    duplicates: int = 0
    unreadable: int = 0  # bodies that couldn't be counted
    misread: int = 0  # how many of those have a known place in a source's numbering, and so leave no gap
    gaps: int = 0  # seqs that are lost for good


def summed(histograms: Iterable[Histogram], edges: tuple[int, ...]) -> Histogram:
    """Return the sum of histograms that all have these edges."""
    whole = empty(edges)
    for histogram in histograms:
        whole.take(histogram)
    return whole


def dump(counts: Counts) -> bytes:
    """Return the state as bytes."""
    return msgspec.msgpack.encode(counts)


def load(body: bytes) -> Counts:
    """Return the state that ``dump`` wrote. Raises msgspec.DecodeError if the bytes are no such state."""
    counts = msgspec.msgpack.decode(body, type=Counts)
    # A label that is newer than the state has no values there.
    counts.label_values += [set() for _ in MODEL_LABELS[len(counts.label_values) :]]
    counts.event_series = sum(len(by_reason) for by_name in counts.events.values() for by_reason in by_name.values())
    counts.shard_series = sum(number != NO_SHARD for by in counts.shards.values() for number in by)
    return counts


def _add(into: dict[str, int], other: Mapping[str, int]) -> None:
    for name, count in other.items():
        into[name] = into.get(name, 0) + count
