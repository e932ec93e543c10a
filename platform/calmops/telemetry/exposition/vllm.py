"""Writes the meter's counts under vLLM's names: an optional view, off by default, since it doubles the series.

It has all metrics that vLLM's own grafana.json asks for. A prompt is counted when its request is accepted, not when it
ends; decoding lasts until the request's end at the gateway.
"""

from collections.abc import Iterable, Iterator

from prometheus_client.metrics_core import Metric as Family

from calmops.telemetry.exposition import vllm_names as names
from calmops.telemetry.exposition.prometheus import (
    Histograms,
    Samples,
    histogram,
    is_shown,
    known_models,
    last_heard_ns,
    plain,
    rendered,
    shard_label,
)
from calmops.telemetry.metering.counts import (
    DURATION_NS,
    INTER_TOKEN_NS,
    NO_SHARD,
    PROMPT_TOKENS,
    TTFT_NS,
    Counts,
    Histogram,
    ModelCounts,
    ShardCounts,
    summed,
)

Models = list[tuple[str, list[ModelCounts]]]  # by the model's name
Shards = list[tuple[list[str], list[ShardCounts]]]  # by the model's name and the shard's label


def vllm_exposition(counts: Counts, *, now_ns: int | None = None, openmetrics: bool = False) -> bytes:
    """Return the counts under vLLM's names in Prometheus' text format, or in OpenMetrics.

    Versions, variants and tiers of a model, which vLLM doesn't know, are added up, retired ones included.
    ``now_ns``: the meter's wall clock; None: the time at which a shard was last heard of.
    """
    now_ns = last_heard_ns(counts) if now_ns is None else now_ns
    return rendered([*_requests(_models(counts)), *_steps(_shards(counts), now_ns)], openmetrics=openmetrics)


def _models(counts: Counts) -> Models:
    by_name: dict[str, list[ModelCounts]] = {}
    for labels, model in known_models(counts).items():
        by_name.setdefault(labels.model, []).append(model)
    for place, retired in counts.retired.items():
        by_name.setdefault(place.model, []).append(retired.model)
    return sorted(by_name.items())


def _shards(counts: Counts) -> Shards:
    by_shard: dict[tuple[str, str], list[ShardCounts]] = {}
    by_model = [(labels.model, shards) for labels, shards in counts.shards.items()]
    by_model += [(place.model, retired.shards) for place, retired in counts.retired.items()]
    for name, shards in by_model:
        for number, shard in shards.items():
            if number != NO_SHARD:
                by_shard.setdefault((name, shard_label(number)), []).append(shard)
    return [([*labels], shards) for labels, shards in sorted(by_shard.items())]


def _requests(models: Models) -> Iterator[Family]:
    def sums(field: str, edges: tuple[int, ...]) -> Histograms:
        return [([name], summed((getattr(one, field) for one in counts), edges)) for name, counts in models]

    def tokens(kind: str) -> Samples:
        return [([name], sum(one.tokens[kind] for one in counts)) for name, counts in models]

    yield histogram(names.DURATION, 1e9, sums("duration", DURATION_NS))
    yield histogram(names.QUEUED, 1e9, sums("queued", DURATION_NS))
    yield histogram(names.PREFILLING, 1e9, sums("prefilling", DURATION_NS))
    yield histogram(names.DECODING, 1e9, sums("decoding", DURATION_NS))
    yield histogram(names.PROMPT_LENGTH, 1, sums("prompts", PROMPT_TOKENS))
    yield histogram(names.ANSWER_LENGTH, 1, sums("answers", PROMPT_TOKENS))
    yield histogram(names.LONGEST_ANSWER, 1, sums("longest", PROMPT_TOKENS))
    yield plain(names.PROMPT, tokens("prompt"))
    yield plain(names.GENERATED, tokens("generated"))
    yield plain(names.CACHE_ASKED, tokens("prompt"))
    yield plain(names.CACHE_FOUND, tokens("cached"))
    ended = [([name, reason], count) for name, counts in models for reason, count in _ended_by_reason(counts)]
    yield plain(names.ENDED, ended)


def _ended_by_reason(models: Iterable[ModelCounts]) -> list[tuple[str, int]]:
    """Return how many requests ended for each of vLLM's reasons."""
    ended = dict.fromkeys(names.REASONS.values(), 0)
    for model in models:
        for outcome, count in model.outcomes.items():
            if outcome in names.REASONS:
                ended[names.REASONS[outcome]] += count
    return sorted(ended.items())


def _steps(shards: Shards, now_ns: int) -> Iterator[Family]:
    shown = [(labels, [one for one in counts if is_shown(one, now_ns)]) for labels, counts in shards]

    def sums(field: str, edges: tuple[int, ...]) -> list[tuple[list[str], Histogram]]:
        return [(labels, summed((getattr(one, field) for one in counts), edges)) for labels, counts in shards]

    def gauge(field: str) -> list[tuple[list[str], float]]:
        return [(labels, sum(getattr(one, field) for one in counts)) for labels, counts in shown if counts]

    yield histogram(names.TTFT, 1e9, sums("ttft", TTFT_NS))
    yield histogram(names.INTER_TOKEN, 1e9, sums("gap_gateway", INTER_TOKEN_NS))
    yield plain(names.RUNNING, gauge("running"))
    yield plain(names.WAITING, gauge("waiting"))
    used, total = gauge("kv_blocks_used"), gauge("kv_blocks_total")
    yield plain(
        names.KV_USAGE,
        [(labels, blocks / of if of else 0.0) for (labels, blocks), (_, of) in zip(used, total, strict=True)],
    )
    yield plain(names.PREEMPTIONS, [(labels, sum(one.preempted for one in counts)) for labels, counts in shards])
