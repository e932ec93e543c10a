"""The meter's counts under vLLM's names: an optional view, off by default, since it doubles the series.

All that vLLM's own grafana.json asks for. A prompt is counted when its request is accepted, not when it ends; decoding lasts to the request's end at the gateway.
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

Models = list[tuple[str, list[ModelCounts]]]


def vllm_exposition(counts: Counts, *, now_ns: int | None = None, openmetrics: bool = False) -> bytes:
    """In Prometheus' text format or in OpenMetrics. ``now_ns``: the meter's wall clock; None: when a shard was heard of last.

    Versions, variants and tiers of a model, which vLLM doesn't know, are added up, with what is left of retired ones.
    """
    now_ns = last_heard_ns(counts) if now_ns is None else now_ns
    return rendered([*_requests(_models(counts)), *_steps(_shards(counts), now_ns)], openmetrics=openmetrics)


def _models(counts: Counts) -> Models:
    found: dict[str, list[ModelCounts]] = {}
    for key, model in known_models(counts).items():
        found.setdefault(key.model, []).append(model)
    for (name, _), rest in counts.retired.items():
        found.setdefault(name, []).append(rest.model)
    return sorted(found.items())


def _shards(counts: Counts) -> list[tuple[list[str], list[ShardCounts]]]:
    found: dict[tuple[str, str], list[ShardCounts]] = {}
    named = [(key.model, by) for key, by in counts.shards.items()] + [
        (name, rest.shards) for (name, _), rest in counts.retired.items()
    ]
    for name, by in named:
        for number, shard in by.items():
            if number != NO_SHARD:
                found.setdefault((name, shard_label(number)), []).append(shard)
    return [([*labels], them) for labels, them in sorted(found.items())]


def _requests(models: Models) -> Iterator[Family]:
    def lasted(pick: str, edges: tuple[int, ...]) -> Histograms:
        return [([name], summed((getattr(one, pick) for one in them), edges)) for name, them in models]

    def tokens(kind: str) -> Samples:
        return [([name], sum(one.tokens[kind] for one in them)) for name, them in models]

    yield histogram(names.DURATION, 1e9, lasted("duration", DURATION_NS))
    yield histogram(names.QUEUED, 1e9, lasted("queued", DURATION_NS))
    yield histogram(names.PREFILLING, 1e9, lasted("prefilling", DURATION_NS))
    yield histogram(names.DECODING, 1e9, lasted("decoding", DURATION_NS))
    yield histogram(names.PROMPT_LENGTH, 1, lasted("prompts", PROMPT_TOKENS))
    yield histogram(names.ANSWER_LENGTH, 1, lasted("answers", PROMPT_TOKENS))
    yield histogram(names.LONGEST_ANSWER, 1, lasted("longest", PROMPT_TOKENS))
    yield plain(names.PROMPT, tokens("prompt"))
    yield plain(names.GENERATED, tokens("generated"))
    yield plain(names.CACHE_ASKED, tokens("prompt"))
    yield plain(names.CACHE_FOUND, tokens("cached"))
    yield plain(names.ENDED, [([name, reason], count) for name, them in models for reason, count in _ended(them)])


def _ended(models: Iterable[ModelCounts]) -> list[tuple[str, int]]:
    """How many requests ended for each of vLLM's reasons."""
    found = dict.fromkeys(names.REASONS.values(), 0)
    for one in models:
        for outcome, count in one.outcomes.items():
            if outcome in names.REASONS:
                found[names.REASONS[outcome]] += count
    return sorted(found.items())


def _steps(each: list[tuple[list[str], list[ShardCounts]]], now_ns: int) -> Iterator[Family]:
    shown = [(labels, [one for one in them if is_shown(one, now_ns)]) for labels, them in each]

    def felt(pick: str, edges: tuple[int, ...]) -> list[tuple[list[str], Histogram]]:
        return [(labels, summed((getattr(one, pick) for one in them), edges)) for labels, them in each]

    def gauge(pick: str) -> list[tuple[list[str], float]]:
        return [(labels, sum(getattr(one, pick) for one in them)) for labels, them in shown if them]

    yield histogram(names.TTFT, 1e9, felt("ttft", TTFT_NS))
    yield histogram(names.INTER_TOKEN, 1e9, felt("gap_gateway", INTER_TOKEN_NS))
    yield plain(names.RUNNING, gauge("running"))
    yield plain(names.WAITING, gauge("waiting"))
    used, total = gauge("kv_blocks_used"), gauge("kv_blocks_total")
    yield plain(
        names.KV_USAGE,
        [(labels, blocks / of if of else 0.0) for (labels, blocks), (_, of) in zip(used, total, strict=True)],
    )
    yield plain(names.PREEMPTIONS, [(labels, sum(one.preempted for one in them)) for labels, them in each])
