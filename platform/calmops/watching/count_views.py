"""Turns the meter's counts into what objectives, costs and the console take. Pure; none of them knows the others."""

from calmops.console.live_figures import ModelReading
from calmops.foundation.liveness import RUNS_S
from calmops.foundation.model_labels import ModelLabels, ModelPlace, ShardLabels
from calmops.objectives.evaluation.costs import Usage
from calmops.objectives.evaluation.event_counters import Ended, Tally, Timed
from calmops.telemetry.exposition.prometheus import known_models, shard_label
from calmops.telemetry.metering.counts import INTER_TOKEN_NS, NO_SHARD, TTFT_NS, Counts, ReportCounts, summed

RUNS_NS = int(RUNS_S * 1e9)
OF_NO_MODEL = ShardLabels(ModelLabels(), shard_label(NO_SHARD))


def tallies(counts: Counts) -> dict[str, dict[ShardLabels, Tally]]:
    """Return what happened, by a key of objectives.COUNTED and by labels; what could have happened and didn't is 0."""
    served = sorted(_served(counts))
    felt = [
        (ShardLabels(key, shard_label(number)), shard)
        for key in served
        for number, shard in counts.shards.get(key, {}).items()
    ]
    whole = {key: ShardLabels(key, shard_label(NO_SHARD)) for key in served}
    ended: dict[ShardLabels, Tally] = {labels: Ended(0, 0) for labels in whole.values()}
    ended |= {labels: Ended(shard.ended_well, shard.ended_badly) for labels, shard in felt}
    first: dict[ShardLabels, Tally] = {labels: Timed([0] * (len(TTFT_NS) + 1)) for labels in whole.values()}
    first |= {
        labels: Timed([*shard.ttft.buckets[:-1], shard.ttft.buckets[-1] + shard.unanswered]) for labels, shard in felt
    }
    lost = counts.gaps + counts.misread + sum(records for records, _ in counts.dropped.values())
    return {
        "inter_token_latency": {
            labels: Timed(shard.gap_gateway.buckets) for labels, shard in felt if labels.shard != shard_label(NO_SHARD)
        },
        "time_to_first_token": first,
        "requests": ended,
        "tokenizations": {
            labels: Ended(_accepted(counts, key), _event(counts, key, "tokenization_errors"))
            for key, labels in whole.items()
        },
        "pii_scans": {labels: _reported(counts, key, "pii_scans") for key, labels in whole.items()},
        "telemetry_records": {OF_NO_MODEL: Ended(counts.folded, lost)},
    }


def readings(counts: Counts, now_ns: int) -> dict[str, ModelReading]:
    """Return a reading per model, whatever its other labels, for the console's figures.

    ``now_ns`` is the meter's wall clock.
    """
    by_model: dict[str, ModelReading] = {}
    for name in sorted({key.model for key in counts.models}):
        retired = [rest for place, rest in counts.retired.items() if place.model == name]
        models = [model for key, model in counts.models.items() if key.model == name]
        running = [shard for key, by in counts.shards.items() if key.model == name for shard in by.values()]
        shards = running + [shard for rest in retired for shard in rest.shards.values()]
        models += [rest.model for rest in retired]
        outcomes: dict[str, int] = {}
        for model in models:
            for outcome, count in model.outcomes.items():
                outcomes[outcome] = outcomes.get(outcome, 0) + count
        by_model[name] = ModelReading(
            summed((shard.gap_gateway for shard in shards), INTER_TOKEN_NS).buckets,
            summed((shard.ttft for shard in shards), TTFT_NS).buckets,
            sum(model.tokens["generated"] for model in models), outcomes,
            sum(shard.running for shard in running if shard.is_heard(RUNS_NS, now_ns)),
            sum(shard.waiting for shard in running if shard.is_heard(RUNS_NS, now_ns)),
        )  # fmt: skip
    return by_model


def usage(counts: Counts, now_ns: int) -> dict[ModelPlace, Usage]:
    """Return which replicas run in each place, those without a request included, and the tokens delivered there.

    ``now_ns`` is the meter's wall clock.
    """
    by_place: dict[ModelPlace, Usage] = {}
    for key, model in known_models(counts).items():
        running = sum(shard.is_heard(RUNS_NS, now_ns) for shard in counts.shards.get(key, {}).values())
        place = key.place
        before = by_place.get(place, Usage(0, _retired_tokens(counts, place)))
        by_place[place] = Usage(before.replicas + running, before.tokens + model.tokens["delivered"])
    return by_place


def ran(counts: Counts, within_s: float, now_ns: int) -> set[ModelLabels]:
    """Return the label sets, without the shard's label, under which anything ran in the last ``within_s`` seconds."""
    within_ns = round(within_s * 1e9)
    return {key for key, by in counts.shards.items() if any(shard.is_heard(within_ns, now_ns) for shard in by.values())}


def _served(counts: Counts) -> list[ModelLabels]:
    """Return every model that exists. A name known only from requests refused as wrong may be none."""
    return [
        key for key, model in known_models(counts).items()
        if model.accepted or model.outcomes.keys() - {"refused_input"} or key in counts.events or key in counts.reports
        or counts.shards.get(key, {}).keys() - {NO_SHARD}
    ]  # fmt: skip


def _retired_tokens(counts: Counts, place: ModelPlace) -> int:
    """Return how many tokens were delivered under labels that have been retired."""
    rest = counts.retired.get(place)
    return rest.model.tokens["delivered"] if rest is not None else 0


def _accepted(counts: Counts, key: ModelLabels) -> int:
    model = counts.models.get(key)
    return model.accepted if model is not None else 0


def _event(counts: Counts, key: ModelLabels, name: str) -> int:
    return sum(counts.events.get(key, {}).get(name, {}).values())


def _reported(counts: Counts, key: ModelLabels, name: str) -> Ended:
    reports = counts.reports.get(key, {}).get(name, ReportCounts())
    return Ended(reports.good, reports.bad)
