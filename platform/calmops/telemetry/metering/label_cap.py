"""Bounds the label sets, shards and reasons that the fold counts under, however many come, and loses no number.

A label may have MOST_VALUES values, and there may be MOST_LABEL_SETS label sets; what comes above is counted under
OTHER. The first to come keep their names, so the order of records matters only above the caps. Once a cap is reached,
label sets that have been silent for SILENT_NS make room (retired_labels.py), so that releases that are long gone don't
take the place of those that run.
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
MOST_LABEL_SETS = 2000  # models with their labels
MOST_SHARDS = 2000  # of all models together; each has some 40 series
MOST_REASONS = 50  # of one event of one model
MOST_EVENTS = 20_000  # reasons of all events of all models together
SILENT_NS = 24 * 3600 * 10**9  # before the record that comes now
LOOK_NS = 60 * 10**9  # between two looks for silent label sets


def capped_labels(counts: Counts, labels: ModelLabels, at_ns: int) -> ModelLabels:
    """Return the label set that a record is counted under. ``at_ns``: the record's time, never past the meter's own."""
    if labels in counts.keys:
        counts.keys[labels] = max(counts.keys[labels], at_ns)
        return labels
    if len(counts.keys) >= MOST_LABEL_SETS or any(
        value not in known and len(known) >= MOST_VALUES
        for value, known in zip(labels, counts.label_values, strict=True)
    ):
        _retire_silent(counts, at_ns)
    labels = ModelLabels._make(
        OTHER if value not in known and len(known) >= MOST_VALUES else value
        for value, known in zip(labels, counts.label_values, strict=True)
    )
    if labels not in counts.keys and len(counts.keys) >= MOST_LABEL_SETS:
        labels = ALL_OTHER
    counts.keys[labels] = max(counts.keys.get(labels, 0), at_ns)
    for value, known in zip(labels, counts.label_values, strict=True):
        known.add(value)
    return labels


def capped_shard(counts: Counts, labels: ModelLabels, shard: int) -> int:
    """Return the shard, or OTHER_SHARD if it is new and the cap is reached."""
    if shard in counts.shards.get(labels, ()) or shard == NO_SHARD:
        return shard
    if counts.shard_series >= MOST_SHARDS:
        _retire_silent(counts, counts.keys[labels])
    return shard if counts.shard_series < MOST_SHARDS else OTHER_SHARD


def capped_event(counts: Counts, labels: ModelLabels, name: str, reason: str) -> tuple[ModelLabels, str, str]:
    """Return the label set, the name and the reason that an event is counted under."""
    name = name if name in EVENTS else OTHER
    known = counts.events.get(labels, {}).get(name, {})
    reason = capped_reason(reason, known)
    if reason in known or counts.event_series < MOST_EVENTS:
        return labels, name, reason
    return (labels, name, OTHER) if OTHER in known else (ALL_OTHER, name, OTHER)


def capped_reason(reason: str, known: Collection[str]) -> str:
    """Return the reason, or OTHER if it is new and the cap is reached."""
    return reason if reason in known or len(known) < MOST_REASONS else OTHER


def most_series(objectives: int = 0) -> int:
    """Return the most series that the meter can show when ``objectives`` of the objectives count events.

    It is some 590,000, and 12,000 more per objective: a cap, not a budget. A model that runs has some 220 series, a
    shard 36. Costs are included. The metrics of the cluster (gangs, nodes, GPUs) are not, nor is the view under vLLM's
    names, which has fewer series.
    """
    label_sets = MOST_LABEL_SETS + 1  # ALL_OTHER
    shards = MOST_SHARDS + label_sets  # each may have one OTHER_SHARD
    judged = 2 * objectives * (label_sets + shards)
    costs = (1 + 3) * label_sets  # of 1,000 tokens, and of an hour by three ways of paying
    return sum(_most_of(metric, label_sets, shards) for metric in METRICS) + judged + costs


def _retire_silent(counts: Counts, at_ns: int) -> None:
    """Retire label sets that were last heard of SILENT_NS ago; look for them at most once per LOOK_NS."""
    if at_ns >= counts.retired_ns + LOOK_NS:
        counts.retired_ns = at_ns
        retire(counts, at_ns - SILENT_NS)


def _most_of(metric: Metric, label_sets: int, shards: int) -> int:
    """Return the most series of one metric, from so many label sets and shards."""
    reports = len(REPORTED) + 1
    series: dict[tuple[str, ...], int] = {
        (): 1,
        ("reason",): MOST_REASONS + 1 + len(DROP_REASONS),
        MODEL: label_sets,
        (*MODEL, "at"): 2 * label_sets,
        (*MODEL, "stage"): len(STAGES) * label_sets,
        (*MODEL, "kind"): len(TOKEN_KINDS) * label_sets,
        (*MODEL, "outcome"): (len(OUTCOMES) + 1) * label_sets,
        (*MODEL, "shard"): shards,
        (*MODEL, "name", "reason"): MOST_EVENTS + len(EVENTS) + 1 + label_sets * sum(map(len, EVENT_REASONS.values())),
        (*MODEL, "name", "result"): 2 * reports * label_sets,
        (*MODEL, "name"): reports * label_sets,
    }
    return series[metric.labels] * (len(metric.edges) + 3 if metric.kind == "histogram" else 1)
