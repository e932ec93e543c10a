"""Which labels a number is kept under, however many values come: bounded, and no number is lost.

A label may have MOST_VALUES values, and there may be MOST_KEYS combinations of a model's labels; what comes beyond is counted
under OTHER. Which come first decides which keep their names, so only beyond the caps does the order of records matter. Once a
cap is reached, labels that have been silent for SILENT_NS make room: their series end, as a stopped process' do. So releases
that are long gone don't take the place of those that run.
"""

from collections.abc import Collection

from calmops.messages.record import Labels
from calmops.telemetry.counts import Counts, Key

MOST_VALUES = 200  # of one label
MOST_KEYS = 2000  # models with their labels
MOST_SHARDS = 2000  # of all models together; each has some 40 series
MOST_REASONS = 50  # of one event
SILENT_NS = 24 * 3600 * 10**9  # before what comes now
LOOK_NS = 60 * 10**9  # between two looks for silent ones
OTHER = "other"
NO_SHARD, OTHER_SHARD = -1, -2


def admitted(counts: Counts, model: str, labels: Labels, at_ns: int) -> Key:
    """The labels that a record's numbers are kept under. ``at_ns``: the record's wall clock."""
    key: Key = (model, *labels)
    if key in counts.keys:
        counts.keys[key] = max(counts.keys[key], at_ns)
        return key
    if len(counts.keys) >= MOST_KEYS or any(value not in known and len(known) >= MOST_VALUES for value, known in zip(key, counts.label_values, strict=True)):
        _retire_silent(counts, at_ns)
    for number, (value, known) in enumerate(zip(key, counts.label_values, strict=True)):
        if value not in known and len(known) >= MOST_VALUES:
            key = (*key[:number], OTHER, *key[number + 1 :])  # type: ignore[assignment]  # as long as before
    if key not in counts.keys and len(counts.keys) >= MOST_KEYS:
        key = (OTHER, OTHER, OTHER, OTHER, OTHER)
    counts.keys[key] = max(counts.keys.get(key, 0), at_ns)
    for value, known in zip(key, counts.label_values, strict=True):
        known.add(value)
    return key


def admitted_shard(counts: Counts, key: Key, shard: int) -> int:
    """The shard, or OTHER_SHARD for one too many."""
    if shard in counts.shards.get(key, ()) or shard == NO_SHARD:
        return shard
    if _shards(counts) >= MOST_SHARDS:
        _retire_silent(counts, counts.keys[key])
    return shard if _shards(counts) < MOST_SHARDS else OTHER_SHARD


def _shards(counts: Counts) -> int:
    """How many there are; requests that ran nowhere are on none."""
    return sum(shard != NO_SHARD for by in counts.shards.values() for shard in by)


def _retire_silent(counts: Counts, at_ns: int) -> None:
    """Forget whatever was last heard of SILENT_NS ago, but for what is kept under OTHER."""
    if at_ns < counts.retired_ns + LOOK_NS:
        return
    counts.retired_ns = at_ns
    for key in [key for key, latest_ns in counts.keys.items() if latest_ns < at_ns - SILENT_NS and OTHER not in key]:
        del counts.keys[key]
        for kept in (counts.models, counts.shards, counts.reports, counts.events):
            kept.pop(key, None)
    for number, known in enumerate(counts.label_values):
        known.intersection_update({key[number] for key in counts.keys})


def admitted_reason(reason: str, known: Collection[str]) -> str:
    """The reason, or OTHER for one too many."""
    return reason if reason in known or len(known) < MOST_REASONS else OTHER
