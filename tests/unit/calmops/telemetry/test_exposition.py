"""Exposition: the exact text, and that every declared metric is there."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from calmops.foundation.metric_names import METRICS, Metric
from calmops.messages.record import OUTCOMES, SCHEMA, Counted, Dropped, Envelope, Record
from calmops.telemetry.exposition.prometheus import GAUGES_NS, exposition
from calmops.telemetry.metering.counts import Counts
from calmops.telemetry.metering.fold import fold
from tests.support.telemetry_records import T0_NS, closed, envelopes, frame, opened

GOLDEN = Path(__file__).parent / "exposition.golden.txt"


def sample_counts() -> Counts:
    """A little of everything."""
    records: list[Record] = [
        opened("a"), opened("b"), frame(1, gap_ns=None), frame(2), frame(3, sequences=1, gap_ns=120_000_000),
        closed("a", delivered=3), closed("b", outcome="timeout", delivered=2),
        Dropped(gateway_id="gw", at_ns=T0_NS, reason="ring_full", records=2, tokens=64),
        Counted(gateway_id="gw", model="m", at_ns=T0_NS, name="migrations", reason="silence", value=1),
    ]  # fmt: skip
    counts = Counts()
    for envelope in [*envelopes("gw", records), envelopes("gw", records)[0]]:
        fold(counts, envelope)
    return counts


def test_the_text_equals_the_golden_file() -> None:
    text = exposition(sample_counts()).decode()
    assert text == GOLDEN.read_text(), f"exposition changed; write the new text to {GOLDEN} if that is meant"


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
