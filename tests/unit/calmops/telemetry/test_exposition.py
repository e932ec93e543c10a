"""Exposition: the exact text, and that every declared metric is there."""

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
    assert golden_text() == GOLDEN.read_text(), (
        "the exposition changed; `make gen` writes the new text, if that is meant"
    )


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


def test_a_model_that_only_said_hello_has_its_series_from_the_beginning() -> None:
    counts = Counts()
    hello = Counted(
        gateway_id="gw", model="m", at_ns=T0_NS, name="tokenization_errors", reason="release_mismatch", value=0
    )
    nameless = Counted(gateway_id="gw", model="", at_ns=T0_NS, name="log_failures", reason="OSError", value=1)
    for envelope in envelopes("gw", [hello, nameless]):
        fold(counts, envelope)
    samples = [s for one in text_string_to_metric_families(exposition(counts).decode()) for s in one.samples]
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


def test_shards_that_the_meter_hears_of_no_more_have_no_gauge_though_all_of_them_are_gone() -> None:
    counts = fold(Counts(), Envelope(SCHEMA, "gw", 1, frame(1)), T0_NS)
    counts = fold(counts, Envelope(SCHEMA, "gw", 2, frame(2, gang_id="another")), T0_NS)
    for now_ns, shown in ((T0_NS, True), (T0_NS + GAUGES_NS, False)):
        text = exposition(counts, now_ns=now_ns)
        assert (b"calmops_running_sequences{" in text, b"calmops_steps_total{" in text) == (shown, True)
