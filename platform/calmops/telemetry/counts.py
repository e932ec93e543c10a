"""What the meter has counted: plain, serializable, mutable, owned by one meter. Knows how to add, not what a record means."""

from bisect import bisect_left
from collections.abc import Iterable

import msgspec

from calmops.foundation import metric_names as names

STEPS_REMEMBERED = 4096  # a gang's latest steps out of order, to tell another gateway's view of a step from a new one
GANGS_REMEMBERED = 512  # gangs whose steps are remembered; beyond, the longest silent ones are forgotten
LATE_RECORDS = 10_000  # a source's records above a gap, after which the gap is taken as lost


class Histogram(msgspec.Struct, kw_only=True):
    """Counts per bucket (the last one is +Inf) and the sum, in integer units of the edges given to ``add``."""

    buckets: list[int]
    total: int = 0

    def add(self, edges: tuple[int, ...], value: int) -> None:
        """Count one value; ``edges`` are inclusive upper bounds in the value's unit."""
        self.buckets[bisect_left(edges, value)] += 1
        self.total += value


def empty(edges: tuple[int, ...]) -> Histogram:
    """A histogram with nothing in it."""
    return Histogram(buckets=[0] * (len(edges) + 1))


def nanoseconds(edges_s: tuple[float, ...]) -> tuple[int, ...]:
    """Edges in seconds as integer nanoseconds."""
    return tuple(round(edge * 1e9) for edge in edges_s)


TTFT_NS = nanoseconds(names.TTFT_EDGES_S)
DURATION_NS = nanoseconds(names.DURATION_EDGES_S)
INTER_TOKEN_NS = nanoseconds(names.INTER_TOKEN_EDGES_S)
STEP_NS = nanoseconds(names.STEP_EDGES_S)
BATCH_ROWS = names.BATCH_EDGES_ROWS
PROMPT_TOKENS = names.PROMPT_EDGES_TOKENS


Key = tuple[str, str, str, str, str]  # a model and messages.record.Labels


class ModelCounts(msgspec.Struct, kw_only=True):
    """Of one model: token facts and request facts, summed. What objectives judge is kept by shard, in ShardCounts."""

    tokens: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(names.TOKEN_KINDS, 0))
    outcomes: dict[str, int] = {}
    accepted: int = 0
    attempts: int = 0
    prompts: Histogram = msgspec.field(default_factory=lambda: empty(PROMPT_TOKENS))
    tokenized_chars: int = 0  # of prompts that came as text
    tokenized_tokens: int = 0  # likewise
    ledger_unknown: int = 0
    duration: Histogram = msgspec.field(default_factory=lambda: empty(DURATION_NS))
    gap_engine: Histogram = msgspec.field(default_factory=lambda: empty(INTER_TOKEN_NS))


class ShardCounts(msgspec.Struct, kw_only=True):
    """Of one shard of a model: what clients felt, and step facts, each step once.

    Gauges are those of the latest record by ``at_ns``. Requests count for the shard that decoded last, -1 where none did.
    """

    ttft: Histogram = msgspec.field(default_factory=lambda: empty(TTFT_NS))
    gap_gateway: Histogram = msgspec.field(default_factory=lambda: empty(INTER_TOKEN_NS))
    ended_well: int = 0
    ended_badly: int = 0  # those that a client cancelled or wrote wrongly are neither

    steps: int = 0
    preempted: int = 0
    duration: Histogram = msgspec.field(default_factory=lambda: empty(STEP_NS))
    rows: Histogram = msgspec.field(default_factory=lambda: empty(BATCH_ROWS))
    latest: tuple[int, int] = (-1, -1)  # (at_ns, step)
    running: int = 0
    waiting: int = 0
    kv_blocks_used: int = 0
    kv_blocks_total: int = 0


class GangSteps(msgspec.Struct, kw_only=True):
    """Which steps of a gang (from 1) were counted: all up to ``floor`` are taken as counted, and those in ``seen``."""

    floor: int = 0
    seen: set[int] = msgspec.field(default_factory=set)
    latest_ns: int = 0  # of its records


class SourceProgress(msgspec.Struct, kw_only=True):
    """How far a source's numbering was folded: all up to ``contiguous``, and those in ``ahead``."""

    contiguous: int = 0
    ahead: set[int] = msgspec.field(default_factory=set)


class ReportCounts(msgspec.Struct, kw_only=True):
    """What others found, of one model and one name. ``value`` is the latest by ``at_ns``."""

    good: int = 0
    bad: int = 0
    latest_ns: int = -1
    value: float | None = None


class Counts(msgspec.Struct, kw_only=True):
    """The meter's whole state. Serializable; equal for equal sets of records."""

    since_ns: int = 0  # the earliest record's time
    keys: dict[Key, int] = {}  # to the time of the latest record, wall ns
    retired_ns: int = 0  # when silent ones were last looked for
    label_values: tuple[set[str], set[str], set[str], set[str], set[str]] = msgspec.field(
        default_factory=lambda: (set(), set(), set(), set(), set())
    )
    models: dict[Key, ModelCounts] = {}
    shards: dict[Key, dict[int, ShardCounts]] = {}
    reports: dict[Key, dict[str, ReportCounts]] = {}
    gangs: dict[str, GangSteps] = {}
    sources: dict[str, SourceProgress] = {}
    dropped: dict[str, tuple[int, int]] = {}
    events: dict[Key, dict[str, dict[str, int]]] = {}  # by name and reason
    folded: int = 0
    duplicates: int = 0
    unreadable: int = 0  # bodies that weren't a record of this release's schema
    gaps: int = 0  # seqs that are lost for good (retention passed them by)


def summed(histograms: Iterable[Histogram], edges: tuple[int, ...]) -> Histogram:
    """All of them as one."""
    found = empty(edges)
    for one in histograms:
        found.buckets = [a + b for a, b in zip(found.buckets, one.buckets, strict=True)]
        found.total += one.total
    return found


def dump(counts: Counts) -> bytes:
    """The state as bytes."""
    return msgspec.msgpack.encode(counts)


def load(body: bytes) -> Counts:
    """The state that ``dump`` wrote."""
    return msgspec.msgpack.decode(body, type=Counts)
