"""Writes the meter's counts in Prometheus' text format or in OpenMetrics, which has room for exemplars. Counts nothing.

Names and buckets come from foundation.metric_names.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from calmops.foundation import metric_names as names
from calmops.foundation.liveness import GAUGES_S
from calmops.foundation.model_labels import OTHER, ModelLabels
from calmops.messages.record import OUTCOMES
from calmops.telemetry.metering.counts import (
    INTER_TOKEN_NS,
    NO_SHARD,
    OTHER_SHARD,
    TTFT_NS,
    Counts,
    Histogram,
    ModelCounts,
    ShardCounts,
    summed,
)
from calmops.telemetry.metering.source_progress import missing

GAUGES_NS = int(GAUGES_S * 1e9)
_END = b"# EOF\n"
Samples = Sequence[tuple[list[str], float]]
Histograms = list[tuple[list[str], Histogram]]


class ExemplarSource(Protocol):
    """Gives buckets of a histogram the trace of a request that they counted."""

    def of(self, metric: str, key: tuple[str, ...]) -> Mapping[int, tuple[int, int, int]]:
        """Return (trace id, value in ns, wall time in ns) by the bucket's number. ``key``: the model's label set."""
        ...


class CountsCollector(Collector):
    """Gives prometheus_client one reading of a meter's counts."""

    def __init__(self, counts: Counts, now_ns: int, exemplars: ExemplarSource | None = None) -> None:
        """``now_ns``: the meter's wall clock."""
        self._counts = counts
        self._now_ns = now_ns
        self._exemplars = exemplars

    def collect(self) -> Iterator[Family]:
        """Yield every family of metric_names.METRICS, empty ones included."""
        yield from self._models()
        yield from self._shards()
        yield from self._log()

    def _models(self) -> Iterator[Family]:
        models = sorted(known_models(self._counts).items())
        shards = [(labels, self._counts.shards.get(labels, {}).values()) for labels, _ in models]
        ttft = [([*m], summed((c.ttft for c in by), TTFT_NS)) for m, by in shards]
        yield histogram(names.TTFT, 1e9, ttft, self._exemplars)
        yield histogram(names.PER_OUTPUT_TOKEN, 1e9, [([*m], c.per_output_token) for m, c in models])
        yield histogram(names.DURATION, 1e9, [([*m], c.duration) for m, c in models], self._exemplars)
        stages = [
            ([*m, stage], times)
            for m, c in models
            for stage, times in zip(names.STAGES, (c.queued, c.prefilling, c.decoding), strict=True)
        ]
        yield histogram(names.STAGE, 1e9, stages)
        gaps: Histograms = [([*m, "engine"], c.gap_engine) for m, c in models]
        gaps += [([*m, "gateway"], summed((c.gap_gateway for c in by), INTER_TOKEN_NS)) for m, by in shards]
        yield histogram(names.INTER_TOKEN, 1e9, gaps, self._exemplars)
        yield plain(names.TOKENS, [([*m, kind], n) for m, c in models for kind, n in sorted(c.tokens.items())])
        yield plain(names.REQUESTS, [([*m, outcome], n) for m, c in models for outcome, n in every_outcome(c)])
        yield plain(names.ACCEPTED, [([*m], c.accepted) for m, c in models])
        yield plain(names.ATTEMPTS, [([*m], c.attempts) for m, c in models])
        yield histogram(names.PROMPT_LENGTH, 1, [([*m], c.prompts) for m, c in models])
        yield plain(names.TOKENIZED_CHARS, [([*m], c.tokenized_chars) for m, c in models])
        yield plain(names.TOKENIZED_TOKENS, [([*m], c.tokenized_tokens) for m, c in models])
        yield plain(names.LEDGER_UNKNOWN, [([*m], c.ledger_unknown) for m, c in models])

    def _shards(self) -> Iterator[Family]:
        every = ((m, s, c) for m, by in sorted(self._counts.shards.items()) for s, c in sorted(by.items()))
        # Requests that ran nowhere made no step and have no gauge.
        shards = [([*m, shard_label(s)], c) for m, s, c in every if c.latest >= (0, 0)]
        yield histogram(names.STEP_DURATION, 1e9, [(labels, c.duration) for labels, c in shards])
        yield histogram(names.BATCH_ROWS, 1, [(labels, c.rows) for labels, c in shards])
        yield plain(names.STEPS, [(labels, c.steps) for labels, c in shards])
        yield plain(names.PREEMPTIONS, [(labels, c.preempted) for labels, c in shards])
        shards = [(labels, c) for labels, c in shards if is_shown(c, self._now_ns)]
        yield plain(names.RUNNING, [(labels, c.running) for labels, c in shards])
        yield plain(names.WAITING, [(labels, c.waiting) for labels, c in shards])
        yield plain(names.KV_USED, [(labels, c.kv_blocks_used) for labels, c in shards])
        yield plain(names.KV_TOTAL, [(labels, c.kv_blocks_total) for labels, c in shards])

    def _log(self) -> Iterator[Family]:
        counts = self._counts
        dropped = sorted({**dict.fromkeys(names.DROP_REASONS, (0, 0)), **counts.dropped}.items())
        yield plain(names.DROPPED, [([r], n) for r, (n, _) in dropped])
        yield plain(names.DROPPED_TOKENS, [([r], n) for r, (_, n) in dropped])
        yield plain(names.DUPLICATES, [([], counts.duplicates)])
        yield plain(names.GAPS, [([], counts.gaps)])
        yield plain(names.MISSING, [([], missing(counts))])
        yield plain(names.FOLDED, [([], counts.folded)])
        yield plain(names.UNREADABLE, [([], counts.unreadable)])
        yield plain(names.EVENT, list(_events(counts)))
        reports = [
            ([*m, name], report) for m, by in sorted(counts.reports.items()) for name, report in sorted(by.items())
        ]
        results = [
            ([*labels, result], getattr(report, result))
            for labels, report in reports
            for result in (names.GOOD, names.BAD)
        ]
        yield plain(names.REPORTS, results)
        yield plain(names.REPORTED_VALUE, [(labels, r.value) for labels, r in reports if r.value is not None])
        yield plain(names.COUNTING_SINCE, [([], counts.since_ns / 1e9)])


def known_models(counts: Counts) -> dict[ModelLabels, ModelCounts]:
    """Return the counts of every label set with a model's name; empty ones too, so that their series begin at 0."""
    label_sets = counts.models.keys() | counts.shards.keys() | counts.events.keys() | counts.reports.keys()
    return {labels: counts.models.get(labels) or ModelCounts() for labels in label_sets if labels.model}


def every_outcome(model: ModelCounts) -> list[tuple[str, int]]:
    """Return how many requests had each outcome, 0 included: so the first one that fails is a rise from 0."""
    return sorted({**dict.fromkeys(OUTCOMES, 0), **model.outcomes}.items())


def is_shown(shard: ShardCounts, now_ns: int) -> bool:
    """Return whether a shard still has gauges."""
    return shard.is_heard(GAUGES_NS, now_ns)


def shard_label(shard: int) -> str:
    """Return a shard as a label: "none" for NO_SHARD, "other" for OTHER_SHARD, else its number."""
    return {NO_SHARD: "none", OTHER_SHARD: OTHER}.get(shard, str(shard))


def exposition(
    counts: Counts, exemplars: ExemplarSource | None = None, *, now_ns: int | None = None, openmetrics: bool = False
) -> bytes:
    """Return the counts in Prometheus' text format, or in OpenMetrics with these exemplars.

    ``now_ns``: the meter's wall clock; None: the time at which a shard was last heard of.
    """
    now_ns = last_heard_ns(counts) if now_ns is None else now_ns
    return _text(CountsCollector(counts, now_ns, exemplars if openmetrics else None), openmetrics)


def last_heard_ns(counts: Counts) -> int:
    """Return when any shard was last heard of, by the meter's wall clock."""
    return max((shard.heard_ns for by in counts.shards.values() for shard in by.values()), default=0)


def rendered(families: Sequence[Family], *, openmetrics: bool = False) -> bytes:
    """Return families that aren't counts in the same format."""
    return _text(_Families(families), openmetrics)


def joined(parts: Iterable[bytes], *, openmetrics: bool = False) -> bytes:
    """Join several such texts into one answer."""
    return b"".join(part.removesuffix(_END) for part in parts) + (_END if openmetrics else b"")


def _events(counts: Counts) -> Iterator[tuple[list[str], float]]:
    """Yield every event by model, name and reason; those whose reason is known beforehand appear even as 0."""
    for labels in sorted({*counts.events, *known_models(counts)}):
        counted = counts.events.get(labels, {})
        known = names.EVENT_REASONS if labels.model else {}
        for name in sorted({*counted, *known}):
            by_reason = {**dict.fromkeys(known.get(name, ()), 0), **counted.get(name, {})}
            yield from (([*labels, name, reason], value) for reason, value in sorted(by_reason.items()))


class _Families(Collector):
    """Gives prometheus_client families that are made already."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Family]:
        yield from self._families


def _text(collector: Collector, openmetrics: bool) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    text: bytes = generate_openmetrics(registry) if openmetrics else generate_latest(registry)  # type: ignore[no-untyped-call]
    return text


def plain(metric: names.Metric, samples: Samples) -> Family:
    """Return the family of a counter or a gauge."""
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def histogram(
    metric: names.Metric, unit: float, samples: Histograms, exemplars: ExemplarSource | None = None
) -> Family:
    """Return the family of a histogram. ``unit``: how many of the integer units make one unit of the metric."""
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    edges = [*(str(float(edge)) for edge in metric.edges), "+Inf"]
    for labels, sample in samples:
        # Traces show what a client saw, so gaps on the engine's clock have no exemplar.
        by_bucket = (
            {}
            if exemplars is None or "engine" in labels[len(names.MODEL) :]
            else exemplars.of(metric.name, tuple(labels[: len(names.MODEL)]))
        )
        buckets = [
            (edge, count, _exemplar(*by_bucket[number])) if number in by_bucket else (edge, count)
            for number, (edge, count) in enumerate(zip(edges, accumulate(sample.buckets), strict=True))
        ]
        family.add_metric(labels, buckets, sample.sum / unit)
    return family


def _exemplar(trace_id: int, value_ns: int, at_ns: int) -> Exemplar:
    return Exemplar({"trace_id": f"{trace_id:032x}"}, value_ns / 1e9, at_ns / 1e9)
