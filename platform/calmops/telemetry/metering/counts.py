"""What the meter has counted: plain, serializable, mutable, owned by one meter. Knows how to add, not what a record means.

A field that comes later has a default, so that a state saved by an older release goes on; one that changes what it means takes
another name.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping

import msgspec

from calmops.foundation import metric_names as names
from calmops.foundation.model_labels import MODEL_LABELS, ModelLabels, ModelPlace

STEPS_REMEMBERED = 4096  # a gang's latest steps out of order, to tell another gateway's view of a step from a new one
GANGS_REMEMBERED = 512  # gangs whose steps are remembered; beyond, the longest silent ones are forgotten
LATE_RECORDS = 10_000  # a source's records above a gap, after which the gap is taken as lost
NO_SHARD, OTHER_SHARD = -1, -2  # of requests that ran nowhere, and of shards beyond the cap
WHOLE = 1 << 62  # MessagePack holds no integer of more than 64 bits: a histogram's sum is kept in two


class Histogram(msgspec.Struct, kw_only=True):
    """Counts per bucket (the last one is +Inf) and the sum, in integer units of the edges given to ``add``."""

    buckets: list[int]
    total: int = 0  # of the sum: what is left beside whole WHOLEs
    wholes: int = 0

    @property
    def sum(self) -> int:
        """Of all values; of any size."""
        return self.wholes * WHOLE + self.total

    def add(self, edges: tuple[int, ...], value: int) -> None:
        """Count one value; ``edges`` are inclusive upper bounds in the value's unit."""
        self.buckets[bisect_left(edges, value)] += 1
        self.grow(value)

    def grow(self, value: int) -> None:
        """Add to the sum alone, of values whose buckets were counted."""
        self.total += value
        if self.total >= WHOLE:
            wholes, self.total = divmod(self.total, WHOLE)
            self.wholes += wholes

    def take(self, other: "Histogram") -> None:
        """Add all of another one with the same edges."""
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]
        self.wholes += other.wholes
        self.grow(other.total)


def empty(edges: tuple[int, ...]) -> Histogram:
    """A histogram with nothing in it."""
    return Histogram(buckets=[0] * (len(edges) + 1))


def nanoseconds(edges_s: tuple[float, ...]) -> tuple[int, ...]:
    """Edges in seconds as integer nanoseconds."""
    return tuple(round(edge * 1e9) for edge in edges_s)


TTFT_NS = nanoseconds(names.TTFT_EDGES_S)
DURATION_NS = nanoseconds(names.DURATION_EDGES_S)
INTER_TOKEN_NS = nanoseconds(names.INTER_TOKEN_EDGES_S)
PER_OUTPUT_TOKEN_NS = nanoseconds(names.PER_OUTPUT_TOKEN_EDGES_S)
STEP_NS = nanoseconds(names.STEP_EDGES_S)
BATCH_ROWS = names.BATCH_EDGES_ROWS
PROMPT_TOKENS = names.PROMPT_EDGES_TOKENS


class ModelCounts(msgspec.Struct, kw_only=True):
    """Of one model: token facts and request facts, summed. What objectives judge is kept by shard, in ShardCounts."""

    tokens: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(names.TOKEN_KINDS, 0))
    outcomes: dict[str, int] = {}
    accepted: int = 0
    attempts: int = 0
    prompts: Histogram = msgspec.field(default_factory=lambda: empty(PROMPT_TOKENS))
    answers: Histogram = msgspec.field(
        default_factory=lambda: empty(PROMPT_TOKENS)
    )  # journaled tokens of ended requests that ran
    longest: Histogram = msgspec.field(
        default_factory=lambda: empty(PROMPT_TOKENS)
    )  # likewise, of the longest choice alone
    tokenized_chars: int = 0  # of prompts that came as text
    tokenized_tokens: int = 0  # likewise
    ledger_unknown: int = 0
    duration: Histogram = msgspec.field(default_factory=lambda: empty(DURATION_NS))
    queued: Histogram = msgspec.field(default_factory=lambda: empty(DURATION_NS))  # acceptance to the first step
    prefilling: Histogram = msgspec.field(
        default_factory=lambda: empty(DURATION_NS)
    )  # the first step to the first token
    decoding: Histogram = msgspec.field(default_factory=lambda: empty(DURATION_NS))  # first token to the request's end
    per_output_token: Histogram = msgspec.field(default_factory=lambda: empty(PER_OUTPUT_TOKEN_NS))
    gap_engine: Histogram = msgspec.field(default_factory=lambda: empty(INTER_TOKEN_NS))

    def take(self, other: "ModelCounts") -> None:
        """Add all of another one."""
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
    """Of one shard of a model: what clients felt, and step facts, each step once.

    Gauges are those of the latest record by ``at_ns``. Requests count for the shard that decoded last, -1 where none did.
    """

    ttft: Histogram = msgspec.field(default_factory=lambda: empty(TTFT_NS))
    unanswered: int = 0  # requests that ended badly before their first token: no time, but too long for any objective
    gap_gateway: Histogram = msgspec.field(default_factory=lambda: empty(INTER_TOKEN_NS))
    ended_well: int = 0
    ended_badly: int = 0  # those that a client cancelled or wrote wrongly are neither

    steps: int = 0
    preempted: int = 0
    duration: Histogram = msgspec.field(default_factory=lambda: empty(STEP_NS))
    rows: Histogram = msgspec.field(default_factory=lambda: empty(BATCH_ROWS))
    latest: tuple[int, int] = (-1, -1)  # (at_ns, step)
    heard_ns: int = -1  # when the meter heard of it last, by the meter's wall clock
    running: int = 0
    waiting: int = 0
    kv_blocks_used: int = 0
    kv_blocks_total: int = 0

    def is_heard(self, within_ns: int, now_ns: int) -> bool:
        """Whether the meter has heard of it so lately, by its own clock; one that was set back hides it until the next record."""
        return self.heard_ns >= 0 and abs(now_ns - self.heard_ns) < within_ns

    def take(self, other: "ShardCounts") -> None:
        """Add all that another one has counted; gauges aren't counts."""
        for name in ("unanswered", "ended_well", "ended_badly", "steps", "preempted"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("ttft", "gap_gateway", "duration", "rows"):
            getattr(self, name).take(getattr(other, name))


class GangSteps(msgspec.Struct, kw_only=True):
    """Which steps of a gang (from 1) were counted: all up to ``floor`` are taken as counted, and those in ``seen``."""

    floor: int = 0
    seen: set[int] = msgspec.field(default_factory=set)
    latest_ns: int = 0  # of its records


class SourceProgress(msgspec.Struct, kw_only=True):
    """How far a source's numbering was folded: all up to ``contiguous``, and those in ``ahead``."""

    contiguous: int = 0
    ahead: set[int] = msgspec.field(default_factory=set)
    heard_ns: int = 0  # when the meter read its latest record


class ReportCounts(msgspec.Struct, kw_only=True):
    """What others found, of one model and one name. ``value`` is the latest by ``at_ns``."""

    good: int = 0
    bad: int = 0
    latest_ns: int = -1
    value: float | None = None


class Retired(msgspec.Struct, kw_only=True):
    """What is left of labels that made room, of one model in one environment: for whoever sums over labels."""

    model: ModelCounts = msgspec.field(default_factory=ModelCounts)
    shards: dict[int, ShardCounts] = {}


class Counts(msgspec.Struct, kw_only=True):
    """The meter's whole state. Serializable; equal for equal sets of records."""

    edges: dict[str, list[int]] = {}  # those that the histograms have, by kind (stored_edges.py); {}: release 0.1's
    since_ns: int = 0  # the earliest record's time
    rebuilt_ns: int = 0  # when a meter without state began anew: of records that are older some may have been let go
    keys: dict[ModelLabels, int] = {}  # to the time of the latest record, wall ns
    retired_ns: int = 0  # when silent ones were last looked for
    label_values: list[set[str]] = msgspec.field(default_factory=lambda: [set() for _ in MODEL_LABELS])
    models: dict[ModelLabels, ModelCounts] = {}
    shards: dict[ModelLabels, dict[int, ShardCounts]] = {}
    retired: dict[ModelPlace, Retired] = {}
    reports: dict[ModelLabels, dict[str, ReportCounts]] = {}
    gangs: dict[str, GangSteps] = {}
    sources: dict[str, SourceProgress] = {}
    dropped: dict[str, tuple[int, int]] = {}
    events: dict[ModelLabels, dict[str, dict[str, int]]] = {}  # by name and reason
    event_series: int = 0  # how many those are
    shard_series: int = 0  # how many shards have numbers, those of requests that ran nowhere aside
    folded: int = 0
    duplicates: int = 0
    unreadable: int = 0  # bodies that couldn't be counted
    misread: int = 0  # of those, the ones whose place in a source's numbering is known: they are no gap beside
    gaps: int = 0  # seqs that are lost for good (retention passed them by)


def summed(histograms: Iterable[Histogram], edges: tuple[int, ...]) -> Histogram:
    """All of them as one."""
    found = empty(edges)
    for one in histograms:
        found.take(one)
    return found


def dump(counts: Counts) -> bytes:
    """The state as bytes."""
    return msgspec.msgpack.encode(counts)


def load(body: bytes) -> Counts:
    """The state that ``dump`` wrote. Raises msgspec.DecodeError on another's."""
    counts = msgspec.msgpack.decode(body, type=Counts)
    counts.label_values += [set() for _ in MODEL_LABELS[len(counts.label_values) :]]  # of labels that came since
    counts.event_series = sum(len(by_reason) for by_name in counts.events.values() for by_reason in by_name.values())
    counts.shard_series = sum(number != NO_SHARD for by in counts.shards.values() for number in by)
    return counts


def _add(into: dict[str, int], other: Mapping[str, int]) -> None:
    for name, count in other.items():
        into[name] = into.get(name, 0) + count
