"""Which labels a number is kept under, however many values come: bounded, and no number is lost.

A label may have MOST_VALUES values, and there may be MOST_KEYS combinations of a model's labels; what comes beyond is counted
under OTHER. Which come first decides which keep their names, so only beyond the caps does the order of records matter. Once a
cap is reached, labels that have been silent for SILENT_NS make room (retiring.py). So releases that are long gone don't take
the place of those that run.
"""

from collections.abc import Collection

from calmops.foundation.metric_names import (
    DROP_REASONS,
    EVENT_REASONS,
    EVENTS,
    METRICS,
    MODEL,
    STAGES,
    TOKEN_KINDS,
    Metric,
)
from calmops.foundation.model_labels import OTHER, ModelLabels
from calmops.messages.record import OUTCOMES, REPORTED
from calmops.telemetry.metering.counts import NO_SHARD, OTHER_SHARD, Counts
from calmops.telemetry.metering.retired_labels import ALL_OTHER, retire

MOST_VALUES = 200  # of one label
MOST_KEYS = 2000  # models with their labels
MOST_SHARDS = 2000  # of all models together; each has some 40 series
MOST_REASONS = 50  # of one event of one model
MOST_EVENTS = 20_000  # reasons of all events of all models together
SILENT_NS = 24 * 3600 * 10**9  # before what comes now
LOOK_NS = 60 * 10**9  # between two looks for silent ones


def admitted(counts: Counts, key: ModelLabels, at_ns: int) -> ModelLabels:
    """The labels that a record's numbers are kept under. ``at_ns``: the record's time, never past the meter's own."""
    if key in counts.keys:
        counts.keys[key] = max(counts.keys[key], at_ns)
        return key
    if len(counts.keys) >= MOST_KEYS or any(
        value not in known and len(known) >= MOST_VALUES for value, known in zip(key, counts.label_values, strict=True)
    ):
        _retire_silent(counts, at_ns)
    key = ModelLabels._make(
        OTHER if value not in known and len(known) >= MOST_VALUES else value
        for value, known in zip(key, counts.label_values, strict=True)
    )
    if key not in counts.keys and len(counts.keys) >= MOST_KEYS:
        key = ALL_OTHER
    counts.keys[key] = max(counts.keys.get(key, 0), at_ns)
    for value, known in zip(key, counts.label_values, strict=True):
        known.add(value)
    return key


def admitted_shard(counts: Counts, key: ModelLabels, shard: int) -> int:
    """The shard, or OTHER_SHARD for one too many."""
    if shard in counts.shards.get(key, ()) or shard == NO_SHARD:
        return shard
    if counts.shard_series >= MOST_SHARDS:
        _retire_silent(counts, counts.keys[key])
    return shard if counts.shard_series < MOST_SHARDS else OTHER_SHARD


def _retire_silent(counts: Counts, at_ns: int) -> None:
    """Let whatever was last heard of SILENT_NS ago make room, but not at each record."""
    if at_ns >= counts.retired_ns + LOOK_NS:
        counts.retired_ns = at_ns
        retire(counts, at_ns - SILENT_NS)


def admitted_event(counts: Counts, key: ModelLabels, name: str, reason: str) -> tuple[ModelLabels, str, str]:
    """The labels, the name and the reason that an event is counted under."""
    name = name if name in EVENTS else OTHER
    known = counts.events.get(key, {}).get(name, {})
    reason = admitted_reason(reason, known)
    if reason in known or counts.event_series < MOST_EVENTS:
        return key, name, reason
    return (key, name, OTHER) if OTHER in known else (ALL_OTHER, name, OTHER)


def admitted_reason(reason: str, known: Collection[str]) -> str:
    """The reason, or OTHER for one too many."""
    return reason if reason in known or len(known) < MOST_REASONS else OTHER


def most_series(objectives: int = 0) -> int:
    """The most series that the meter shows, whatever comes, with so many objectives that count events.

    Some 590,000, and 12,000 an objective; a cap, not a budget: a model that runs has some 220, a shard 36. Costs are within; the cluster's own (gangs, nodes, GPUs) come beside, as does the view under vLLM's names, which has fewer.
    """
    keys = MOST_KEYS + 1  # ALL_OTHER
    shards = MOST_SHARDS + keys  # each may have one OTHER_SHARD
    judged = 2 * objectives * (keys + shards)
    costs = (1 + 3) * keys  # a thousand tokens', and an hour's by three ways of paying
    return sum(_most_of(metric, keys, shards) for metric in METRICS) + judged + costs


def _most_of(metric: Metric, keys: int, shards: int) -> int:
    reports = len(REPORTED) + 1
    label_sets: dict[tuple[str, ...], int] = {
        (): 1,
        ("reason",): MOST_REASONS + 1 + len(DROP_REASONS),
        MODEL: keys,
        (*MODEL, "at"): 2 * keys,
        (*MODEL, "stage"): len(STAGES) * keys,
        (*MODEL, "kind"): len(TOKEN_KINDS) * keys,
        (*MODEL, "outcome"): (len(OUTCOMES) + 1) * keys,
        (*MODEL, "shard"): shards,
        (*MODEL, "name", "reason"): MOST_EVENTS + len(EVENTS) + 1 + keys * sum(map(len, EVENT_REASONS.values())),
        (*MODEL, "name", "result"): 2 * reports * keys,
        (*MODEL, "name"): reports * keys,
    }
    return label_sets[metric.labels] * (len(metric.edges) + 3 if metric.kind == "histogram" else 1)
