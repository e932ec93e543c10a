"""The meter's counts under vLLM's names: an optional view, off by default, since it doubles the series."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric as Family

from calmops.foundation import vllm_names as names
from calmops.telemetry.counts import (
    DURATION_NS,
    INTER_TOKEN_NS,
    TTFT_NS,
    Counts,
    Histogram,
    ModelCounts,
    ShardCounts,
    summed,
)
from calmops.telemetry.exposition import histogram, plain, rendered, shard_label
from calmops.telemetry.label_cap import NO_SHARD


def vllm_exposition(counts: Counts, *, openmetrics: bool = False) -> bytes:
    """In Prometheus' text format or in OpenMetrics. Versions, variants and tiers of a model, which vLLM doesn't know, are added up."""
    return rendered(list(_families(counts)), openmetrics=openmetrics)


def _families(counts: Counts) -> Iterator[Family]:
    models: dict[str, list[ModelCounts]] = {}
    for key, model in counts.models.items():
        models.setdefault(key[0], []).append(model)
    shards: dict[tuple[str, str], list[ShardCounts]] = {}
    for key, by in counts.shards.items():
        for number, shard in by.items():
            if number != NO_SHARD:
                shards.setdefault((key[0], shard_label(number)), []).append(shard)
    each = sorted(shards.items())

    def felt(pick: str, edges: tuple[int, ...]) -> list[tuple[list[str], Histogram]]:
        return [([*labels], summed((getattr(one, pick) for one in them), edges)) for labels, them in each]

    def gauge(pick: str) -> list[tuple[list[str], float]]:
        return [([*labels], sum(getattr(one, pick) for one in them)) for labels, them in each]

    def tokens(kind: str) -> list[tuple[list[str], float]]:
        return [([name], sum(one.tokens[kind] for one in them)) for name, them in sorted(models.items())]

    yield histogram(names.TTFT, 1e9, felt("ttft", TTFT_NS))
    yield histogram(names.INTER_TOKEN, 1e9, felt("gap_gateway", INTER_TOKEN_NS))
    yield histogram(names.DURATION, 1e9, [([name], summed((one.duration for one in them), DURATION_NS)) for name, them in sorted(models.items())])
    yield plain(names.RUNNING, gauge("running"))
    yield plain(names.WAITING, gauge("waiting"))
    used, total = gauge("kv_blocks_used"), gauge("kv_blocks_total")
    yield plain(names.KV_USAGE, [(labels, blocks / of if of else 0.0) for (labels, blocks), (_, of) in zip(used, total, strict=True)])
    yield plain(names.PREEMPTIONS, gauge("preempted"))
    yield plain(names.PROMPT, tokens("prompt"))
    yield plain(names.GENERATED, tokens("generated"))
    yield plain(names.CACHE_ASKED, tokens("prompt"))
    yield plain(names.CACHE_FOUND, tokens("cached"))
    ended: dict[tuple[str, str], int] = {}
    for name, them in models.items():
        for one in them:
            for outcome, count in one.outcomes.items():
                reason = names.REASONS.get(outcome)
                if reason is not None:
                    ended[name, reason] = ended.get((name, reason), 0) + count
    yield plain(names.ENDED, [([*labels], count) for labels, count in sorted(ended.items())])
