"""The meter's counts as objectives and the console take them. Pure; here because neither side may know the other."""

from calmops.console.figures import ModelReading
from calmops.objectives.costs import Usage
from calmops.objectives.counting import Ended, Labels, Tally, Timed
from calmops.objectives.prices import Place
from calmops.telemetry.counts import INTER_TOKEN_NS, TTFT_NS, Counts, Key, ReportCounts, summed
from calmops.telemetry.exposition import shard_label
from calmops.telemetry.label_cap import NO_SHARD

RUNS_NS = 10_000_000_000  # a shard that was heard of within this time before the newest one counts as running
OF_NO_MODEL: Labels = ("", "", "", "", "", shard_label(NO_SHARD))


def tallies(counts: Counts) -> dict[str, dict[Labels, Tally]]:
    """What happened, by a key of objectives.COUNTED and by labels; what could have happened and didn't is there as 0."""
    felt = [((*key, shard_label(number)), shard) for key, by in counts.shards.items() for number, shard in by.items()]
    ran: dict[Labels, Tally] = {
        (*key, shard_label(number)): Timed(shard.gap_gateway.buckets)
        for key, by in counts.shards.items() for number, shard in by.items() if number != NO_SHARD
    }  # fmt: skip
    whole = {key: (*key, shard_label(NO_SHARD)) for key in sorted(counts.models.keys() | counts.events.keys() | counts.reports.keys() | counts.shards.keys())}
    ended: dict[Labels, Tally] = {labels: Ended(0, 0) for labels in whole.values()}
    ended |= {labels: Ended(shard.ended_well, shard.ended_badly) for labels, shard in felt}
    lost = counts.gaps + counts.unreadable + sum(records for records, _ in counts.dropped.values())
    return {
        "inter_token_latency": ran,
        "time_to_first_token": {labels: Timed(shard.ttft.buckets) for labels, shard in felt},
        "requests": ended,
        "tokenizations": {labels: Ended(_accepted(counts, key), _event(counts, key, "tokenization_errors")) for key, labels in whole.items()},
        "pii_scans": {labels: _reported(counts, key, "pii_scans") for key, labels in whole.items()},
        "telemetry_records": {OF_NO_MODEL: Ended(counts.folded, lost)},
    }


def readings(counts: Counts) -> dict[str, ModelReading]:
    """For the console's figures: by model, whatever its other labels."""
    found: dict[str, ModelReading] = {}
    newest_ns = max((shard.latest[0] for by in counts.shards.values() for shard in by.values()), default=0)
    for name in sorted({key[0] for key in counts.models}):
        models = [model for key, model in counts.models.items() if key[0] == name]
        shards = [shard for key, by in counts.shards.items() if key[0] == name for shard in by.values()]
        outcomes: dict[str, int] = {}
        for model in models:
            for outcome, count in model.outcomes.items():
                outcomes[outcome] = outcomes.get(outcome, 0) + count
        found[name] = ModelReading(
            summed((shard.gap_gateway for shard in shards), INTER_TOKEN_NS).buckets,
            summed((shard.ttft for shard in shards), TTFT_NS).buckets,
            sum(model.tokens["generated"] for model in models), outcomes,
            sum(shard.running for shard in shards if shard.latest[0] > newest_ns - RUNS_NS),
            sum(shard.waiting for shard in shards if shard.latest[0] > newest_ns - RUNS_NS),
        )  # fmt: skip
    return found


def usage(counts: Counts) -> dict[Place, Usage]:
    """What runs where, and what it has delivered."""
    newest_ns = max((shard.latest[0] for by in counts.shards.values() for shard in by.values()), default=0)
    found: dict[Place, Usage] = {}
    for key, model in counts.models.items():
        shards = counts.shards.get(key, {}).values()
        running = sum(shard.latest[0] > newest_ns - RUNS_NS for shard in shards)
        place = Place(key[0], key[-1])
        before = found.get(place, Usage(0, 0))
        found[place] = Usage(before.replicas + running, before.tokens + model.tokens["delivered"])
    return found


def _accepted(counts: Counts, key: Key) -> int:
    model = counts.models.get(key)
    return model.accepted if model is not None else 0


def _event(counts: Counts, key: Key, name: str) -> int:
    return sum(counts.events.get(key, {}).get(name, {}).values())


def _reported(counts: Counts, key: Key, name: str) -> Ended:
    found = counts.reports.get(key, {}).get(name, ReportCounts())
    return Ended(found.good, found.bad)
