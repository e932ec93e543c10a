"""Which labels a number is kept under, however many values come: bounded, and no number is lost.

A label may have MOST_VALUES values, and there may be MOST_KEYS combinations of a model's labels; what comes beyond is counted
under OTHER. Which come first decides which keep their names, so only beyond the caps does the order of records matter.
"""

from collections.abc import Collection

from calmops.messages.record import Labels
from calmops.telemetry.counts import Counts, Key

MOST_VALUES = 200  # of one label
MOST_KEYS = 2000  # models with their labels
MOST_SHARDS = 2000  # of all models together; each has some 40 series
MOST_REASONS = 50  # of one event
OTHER = "other"
NO_SHARD, OTHER_SHARD = -1, -2


def admitted(counts: Counts, model: str, labels: Labels) -> Key:
    """The labels that a record's numbers are kept under."""
    key: Key = (model, *labels)
    if key in counts.keys:
        return key
    for number, (value, known) in enumerate(zip(key, counts.label_values, strict=True)):
        if value not in known and len(known) >= MOST_VALUES:
            key = (*key[:number], OTHER, *key[number + 1 :])  # type: ignore[assignment]  # as long as before
    if key not in counts.keys and len(counts.keys) >= MOST_KEYS:
        key = (OTHER, OTHER, OTHER, OTHER, OTHER)
    counts.keys.add(key)
    for value, known in zip(key, counts.label_values, strict=True):
        known.add(value)
    return key


def admitted_shard(counts: Counts, key: Key, shard: int) -> int:
    """The shard, or OTHER_SHARD for one too many."""
    if shard in counts.shards.get(key, ()) or shard == NO_SHARD:
        return shard
    return shard if sum(map(len, counts.shards.values())) < MOST_SHARDS else OTHER_SHARD


def admitted_reason(reason: str, known: Collection[str]) -> str:
    """The reason, or OTHER for one too many."""
    return reason if reason in known or len(known) < MOST_REASONS else OTHER
