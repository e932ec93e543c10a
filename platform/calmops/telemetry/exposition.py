"""Counts to Prometheus text. Names and buckets come from foundation.metric_names; nothing is counted here."""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from calmops.foundation import metric_names as names
from calmops.telemetry.counts import Counts, Histogram
from calmops.telemetry.fold import missing

Samples = list[tuple[list[str], float]]
Histograms = list[tuple[list[str], Histogram]]


class CountsCollector(Collector):
    """One reading of a meter's counts."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Family]:
        """Every family of metric_names.METRICS, empty ones included."""
        yield from self._models()
        yield from self._shards()
        yield from self._log()

    def _models(self) -> Iterator[Family]:
        models = sorted(self._counts.models.items())
        yield _histogram(names.TTFT, 1e9, [([m], c.ttft) for m, c in models])
        yield _histogram(names.DURATION, 1e9, [([m], c.duration) for m, c in models])
        gaps: Histograms = []
        for name, counts in models:
            gaps += [([name, "engine"], counts.gap_engine), ([name, "gateway"], counts.gap_gateway)]
        yield _histogram(names.INTER_TOKEN, 1e9, gaps)
        yield _plain(names.TOKENS, [([m, kind], n) for m, c in models for kind, n in sorted(c.tokens.items())])
        yield _plain(names.REQUESTS, [([m, outcome], n) for m, c in models for outcome, n in sorted(c.outcomes.items())])
        yield _plain(names.ACCEPTED, [([m], c.accepted) for m, c in models])
        yield _plain(names.LEDGER_UNKNOWN, [([m], c.ledger_unknown) for m, c in models])

    def _shards(self) -> Iterator[Family]:
        shards = [([m, str(s)], c) for m, by in sorted(self._counts.shards.items()) for s, c in sorted(by.items())]
        yield _histogram(names.STEP_DURATION, 1e9, [(labels, c.duration) for labels, c in shards])
        yield _histogram(names.BATCH_ROWS, 1, [(labels, c.rows) for labels, c in shards])
        yield _plain(names.STEPS, [(labels, c.steps) for labels, c in shards])
        yield _plain(names.PREEMPTIONS, [(labels, c.preempted) for labels, c in shards])
        yield _plain(names.RUNNING, [(labels, c.running) for labels, c in shards])
        yield _plain(names.WAITING, [(labels, c.waiting) for labels, c in shards])
        yield _plain(names.KV_USED, [(labels, c.kv_blocks_used) for labels, c in shards])
        yield _plain(names.KV_TOTAL, [(labels, c.kv_blocks_total) for labels, c in shards])

    def _log(self) -> Iterator[Family]:
        counts = self._counts
        yield _plain(names.DROPPED, [([r], n) for r, (n, _) in sorted(counts.dropped.items())])
        yield _plain(names.DROPPED_TOKENS, [([r], n) for r, (_, n) in sorted(counts.dropped.items())])
        yield _plain(names.DUPLICATES, [([], counts.duplicates)])
        yield _plain(names.GAPS, [([], counts.gaps)])
        yield _plain(names.MISSING, [([], missing(counts))])
        yield _plain(names.FOLDED, [([], counts.folded)])
        yield _plain(names.UNREADABLE, [([], counts.unreadable)])
        events: Samples = []
        for model, by_name in sorted(counts.events.items()):
            for name, by_reason in sorted(by_name.items()):
                events += [([model, name, reason], value) for reason, value in sorted(by_reason.items())]
        yield _plain(names.EVENT, events)
        yield _plain(names.COUNTING_SINCE, [([], counts.since_ns / 1e9)])


def exposition(counts: Counts) -> bytes:
    """The counts in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(CountsCollector(counts))
    return generate_latest(registry)


def _plain(metric: names.Metric, samples: Samples) -> Family:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _histogram(metric: names.Metric, unit: float, samples: Histograms) -> Family:
    """``unit``: how many of the histogram's integer units make one of the metric's."""
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    edges = [*(str(float(edge)) for edge in metric.edges), "+Inf"]
    for labels, histogram in samples:
        cumulative = accumulate(histogram.buckets)
        family.add_metric(labels, list(zip(edges, cumulative, strict=True)), histogram.total / unit)
    return family
