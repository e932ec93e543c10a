"""Retires label sets of the counts that have fallen silent: their series end, and new label sets get the room.

What they counted is added to ``Counts.retired``, by model and environment. That has no series of its own: as a counter
it would leap, and to a query for an increase a leap is a burst of events. A caller that sums over label sets adds it,
so that no sum falls: the view under vLLM's names, the costs of tokens, the console's figures. What is left of a model
that isn't heard of any more goes to OTHER, and a shard that isn't heard of goes to OTHER_SHARD.
"""

from calmops.foundation.model_labels import OTHER, ModelLabels, ModelPlace
from calmops.telemetry.metering.counts import NO_SHARD, OTHER_SHARD, Counts, Retired, ShardCounts

ALL_OTHER = ModelLabels.all_other()
OTHER_PLACE = ModelPlace(OTHER, OTHER)


def retire(counts: Counts, before_ns: int) -> None:
    """Retire every label set that was last heard of before ``before_ns`` (wall clock), except ALL_OTHER."""
    silent = [labels for labels, latest_ns in counts.keys.items() if latest_ns < before_ns and labels != ALL_OTHER]
    for labels in silent:
        del counts.keys[labels]
    for number, values in enumerate(counts.label_values):
        values.intersection_update({labels[number] for labels in counts.keys})
    heard_shards: dict[ModelPlace, set[int]] = {OTHER_PLACE: {NO_SHARD, OTHER_SHARD}}
    for labels in counts.keys:
        heard_shards.setdefault(labels.place, {NO_SHARD, OTHER_SHARD}).update(counts.shards.get(labels, ()))
    earlier, counts.retired = counts.retired, {}
    for place, retired in earlier.items():
        _add_retired(counts, place, retired, heard_shards)
    for labels in silent:
        _add_retired(counts, labels.place, _take_out(counts, labels), heard_shards)


def _take_out(counts: Counts, labels: ModelLabels) -> Retired:
    """Remove a label set from the counts and return what it counted, without events and reports, which nobody sums."""
    retired = Retired(shards=counts.shards.pop(labels, {}))
    counts.shard_series -= sum(number != NO_SHARD for number in retired.shards)
    model = counts.models.pop(labels, None)
    if model is not None:
        retired.model = model
    counts.reports.pop(labels, None)
    counts.event_series -= sum(map(len, counts.events.pop(labels, {}).values()))
    return retired


def _add_retired(counts: Counts, place: ModelPlace, retired: Retired, heard_shards: dict[ModelPlace, set[int]]) -> None:
    """Add what was retired at a place; a place or a shard that isn't heard of counts as OTHER."""
    place = place if place in heard_shards else OTHER_PLACE
    whole = counts.retired.setdefault(place, Retired())
    whole.model.take(retired.model)
    for number, shard in retired.shards.items():
        whole.shards.setdefault(number if number in heard_shards[place] else OTHER_SHARD, ShardCounts()).take(shard)
