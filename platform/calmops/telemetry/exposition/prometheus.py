"""Counts to Prometheus' text format or to OpenMetrics, which has room for exemplars. Nothing is counted here.

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


class Traced(Protocol):
    """Which requests' traces show what a bucket holds."""

    def of(self, metric: str, key: tuple[str, ...]) -> Mapping[int, tuple[int, int, int]]:
        """By bucket: trace id, the value and its time in ns."""
        ...


class CountsCollector(Collector):
    """One reading of a meter's counts."""

    def __init__(self, counts: Counts, now_ns: int, traced: Traced | None = None) -> None:
        """``now_ns``: the meter's wall clock."""
        self._counts = counts
        self._now_ns = now_ns
        self._traced = traced

    def collect(self) -> Iterator[Family]:
        """Every family of metric_names.METRICS, empty ones included."""
        yield from self._models()
        yield from self._shards()
        yield from self._log()

    def _models(self) -> Iterator[Family]:
        models = sorted(known_models(self._counts).items())
        felt = [(key, self._counts.shards.get(key, {}).values()) for key, _ in models]
        yield histogram(
            names.TTFT, 1e9, [([*m], summed((c.ttft for c in by), TTFT_NS)) for m, by in felt], self._traced
        )
        yield histogram(names.PER_OUTPUT_TOKEN, 1e9, [([*m], c.per_output_token) for m, c in models])
        yield histogram(names.DURATION, 1e9, [([*m], c.duration) for m, c in models], self._traced)
        stages = [
            ([*m, stage], one)
            for m, c in models
            for stage, one in zip(names.STAGES, (c.queued, c.prefilling, c.decoding), strict=True)
        ]
        yield histogram(names.STAGE, 1e9, stages)
        gaps: Histograms = [([*m, "engine"], c.gap_engine) for m, c in models]
        gaps += [([*m, "gateway"], summed((c.gap_gateway for c in by), INTER_TOKEN_NS)) for m, by in felt]
        yield histogram(names.INTER_TOKEN, 1e9, gaps, self._traced)
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
        shards = [
            ([*m, shard_label(s)], c) for m, s, c in every if c.latest >= (0, 0)
        ]  # requests that ran nowhere have no gauge
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
        reports = [([*m, name], one) for m, by in sorted(counts.reports.items()) for name, one in sorted(by.items())]
        yield plain(
            names.REPORTS,
            [
                ([*labels, result], getattr(one, result))
                for labels, one in reports
                for result in (names.GOOD, names.BAD)
            ],
        )
        yield plain(names.REPORTED_VALUE, [(labels, one.value) for labels, one in reports if one.value is not None])
        yield plain(names.COUNTING_SINCE, [([], counts.since_ns / 1e9)])


def known_models(counts: Counts) -> dict[ModelLabels, ModelCounts]:
    """Everything with a model's name, what nothing was counted of included, so that its series begin at 0."""
    keys = counts.models.keys() | counts.shards.keys() | counts.events.keys() | counts.reports.keys()
    return {key: counts.models.get(key) or ModelCounts() for key in keys if key.model}


def every_outcome(model: ModelCounts) -> list[tuple[str, int]]:
    """How many requests ended so, those that none did included: the first that fails is a rise from 0."""
    return sorted({**dict.fromkeys(OUTCOMES, 0), **model.outcomes}.items())


def is_shown(shard: ShardCounts, now_ns: int) -> bool:
    """Whether a shard still has gauges."""
    return shard.is_heard(GAUGES_NS, now_ns)


def shard_label(shard: int) -> str:
    """A shard as a label: "none" for requests that ran nowhere, "other" for one too many."""
    return {NO_SHARD: "none", OTHER_SHARD: OTHER}.get(shard, str(shard))


def exposition(
    counts: Counts, traced: Traced | None = None, *, now_ns: int | None = None, openmetrics: bool = False
) -> bytes:
    """The counts in Prometheus' text format, or in OpenMetrics, with exemplars of what is ``traced``.

    ``now_ns``: the meter's wall clock; None: as they stood when a shard was heard of last.
    """
    return _text(
        CountsCollector(counts, last_heard_ns(counts) if now_ns is None else now_ns, traced if openmetrics else None),
        openmetrics,
    )


def last_heard_ns(counts: Counts) -> int:
    """When any shard was heard of last, by the meter's wall clock."""
    return max((shard.heard_ns for by in counts.shards.values() for shard in by.values()), default=0)


def rendered(families: Sequence[Family], *, openmetrics: bool = False) -> bytes:
    """Other families in the same format."""
    return _text(_Families(families), openmetrics)


def joined(parts: Iterable[bytes], *, openmetrics: bool = False) -> bytes:
    """Several of these as one answer."""
    return b"".join(part.removesuffix(_END) for part in parts) + (_END if openmetrics else b"")


def _events(counts: Counts) -> Iterator[tuple[list[str], float]]:
    """By model, name and reason; those that are known from the beginning are there as 0."""
    for key in sorted({*counts.events, *known_models(counts)}):
        met = counts.events.get(key, {})
        known = names.EVENT_REASONS if key.model else {}
        for name in sorted({*met, *known}):
            by_reason = {**dict.fromkeys(known.get(name, ()), 0), **met.get(name, {})}
            yield from (([*key, name, reason], value) for reason, value in sorted(by_reason.items()))


class _Families(Collector):
    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Family]:
        yield from self._families


def _text(collector: Collector, openmetrics: bool) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    made: bytes = generate_openmetrics(registry) if openmetrics else generate_latest(registry)  # type: ignore[no-untyped-call]
    return made


def plain(metric: names.Metric, samples: Samples) -> Family:
    """A counter's or a gauge's family."""
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def histogram(metric: names.Metric, unit: float, samples: Histograms, traced: Traced | None = None) -> Family:
    """A histogram's family. ``unit``: how many of the integer units make one of the metric's."""
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    edges = [*(str(float(edge)) for edge in metric.edges), "+Inf"]
    for labels, one in samples:
        found = (
            {}
            if traced is None or "engine" in labels[len(names.MODEL) :]
            else traced.of(metric.name, tuple(labels[: len(names.MODEL)]))
        )
        buckets = [
            (edge, count, _exemplar(found[number])) if number in found else (edge, count)
            for number, (edge, count) in enumerate(zip(edges, accumulate(one.buckets), strict=True))
        ]
        family.add_metric(labels, buckets, one.sum / unit)
    return family


def _exemplar(one: tuple[int, int, int]) -> Exemplar:
    trace_id, value_ns, at_ns = one
    return Exemplar({"trace_id": f"{trace_id:032x}"}, value_ns / 1e9, at_ns / 1e9)
