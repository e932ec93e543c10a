"""Tests the exposition: its exact text, and that every declared metric is there."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from calmops.foundation.metric_names import METRICS, Metric
from calmops.messages.record import OUTCOMES, SCHEMA, Counted, Envelope
from calmops.telemetry.exposition.prometheus import GAUGES_NS, exposition
from calmops.telemetry.metering.counts import Counts
from calmops.telemetry.metering.fold import fold
from tests.support.golden_exposition import GOLDEN, golden_text, sample_counts
from tests.support.telemetry_records import T0_NS, envelopes, frame


def test_the_text_equals_the_golden_file() -> None:
    assert golden_text() == GOLDEN.read_text(), "the exposition changed; if it should, write the new text by `make gen`"


def test_every_declared_metric_is_exposed_even_before_the_first_record() -> None:
    families = {family.name for family in text_string_to_metric_families(exposition(Counts()).decode())}
    declared = {metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name for metric in METRICS}
    assert families == declared


@pytest.mark.parametrize("metric", [m for m in METRICS if m.kind == "histogram"], ids=lambda m: m.name)
def test_histogram_edges_are_those_declared(metric: Metric) -> None:
    text = exposition(sample_counts()).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = families[metric.name].samples
    edges = {float(s.labels["le"]) for s in samples if s.name.endswith("_bucket")}
    assert edges == {float(edge) for edge in metric.edges} | {float("inf")}


def test_a_model_that_was_only_announced_has_all_its_series_at_0() -> None:
    counts = Counts()
    hello = Counted(
        gateway_id="gw", model="m", at_ns=T0_NS, name="tokenization_errors", reason="release_mismatch", value=0
    )
    nameless = Counted(gateway_id="gw", model="", at_ns=T0_NS, name="log_failures", reason="OSError", value=1)
    for envelope in envelopes("gw", [hello, nameless]):
        fold(counts, envelope)
    families = text_string_to_metric_families(exposition(counts).decode())
    samples = [sample for family in families for sample in family.samples]
    of_m = {s.name: s.value for s in samples if s.labels.get("model") == "m"}
    assert {
        "calmops_requests_total",
        "calmops_events_total",
        "calmops_tokens_total",
        "gen_ai_server_request_duration_seconds_count",
    } <= of_m.keys()
    assert set(of_m.values()) == {0}
    assert {s.labels["outcome"] for s in samples if s.name == "calmops_requests_total"} == set(OUTCOMES)
    assert [s.labels["reason"] for s in samples if s.labels.get("model") == ""] == ["OSError"]


def test_a_shard_that_the_meter_no_longer_hears_of_has_no_gauge_even_if_all_shards_are_gone() -> None:
    counts = fold(Counts(), Envelope(SCHEMA, "gw", 1, frame(1)), T0_NS)
    counts = fold(counts, Envelope(SCHEMA, "gw", 2, frame(2, gang_id="another")), T0_NS)
    for now_ns, shown in ((T0_NS, True), (T0_NS + GAUGES_NS, False)):
        text = exposition(counts, now_ns=now_ns)
        assert (b"calmops_running_sequences{" in text, b"calmops_steps_total{" in text) == (shown, True)
