"""Labels that have fallen silent make room for those that come: their series end, as a stopped process' do.

What they had counted goes into what is left of their model in its environment, which has no series of its own: as a counter it
would leap, and a leap is a burst of events to whoever asks for an increase. Whoever sums over labels adds it, so that no sum
falls: the view under vLLM's names, what tokens cost, the console's figures. A model of which nothing is heard any more goes
into OTHER with all that is left of it, and so does a shard of which nothing is heard into OTHER_SHARD.
"""

from calmops.foundation.model_labels import OTHER, ModelLabels, ModelPlace
from calmops.telemetry.metering.counts import NO_SHARD, OTHER_SHARD, Counts, Retired, ShardCounts

ALL_OTHER = ModelLabels.all_other()
ELSEWHERE = ModelPlace(OTHER, OTHER)


def retire(counts: Counts, before_ns: int) -> None:
    """Every label set that was last heard of before then, by wall clock; ALL_OTHER stays."""
    silent = [key for key, latest_ns in counts.keys.items() if latest_ns < before_ns and key != ALL_OTHER]
    for key in silent:
        del counts.keys[key]
    for number, known in enumerate(counts.label_values):
        known.intersection_update({key[number] for key in counts.keys})
    heard: dict[ModelPlace, set[int]] = {ELSEWHERE: {NO_SHARD, OTHER_SHARD}}
    for key in counts.keys:
        heard.setdefault(key.place, {NO_SHARD, OTHER_SHARD}).update(counts.shards.get(key, ()))
    left, counts.retired = counts.retired, {}
    for place, rest in left.items():
        _keep(counts, place, rest, heard)
    for key in silent:
        _keep(counts, key.place, _taken_out(counts, key), heard)


def _taken_out(counts: Counts, key: ModelLabels) -> Retired:
    """All that was counted under a label set, but for its events and reports, which nobody sums."""
    rest = Retired(shards=counts.shards.pop(key, {}))
    counts.shard_series -= sum(number != NO_SHARD for number in rest.shards)
    model = counts.models.pop(key, None)
    if model is not None:
        rest.model = model
    counts.reports.pop(key, None)
    counts.event_series -= sum(map(len, counts.events.pop(key, {}).values()))
    return rest


def _keep(counts: Counts, place: ModelPlace, rest: Retired, heard: dict[ModelPlace, set[int]]) -> None:
    place = place if place in heard else ELSEWHERE
    kept = counts.retired.setdefault(place, Retired())
    kept.model.take(rest.model)
    for number, shard in rest.shards.items():
        kept.shards.setdefault(number if number in heard[place] else OTHER_SHARD, ShardCounts()).take(shard)
