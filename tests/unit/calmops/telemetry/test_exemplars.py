"""Tests exemplars in OpenMetrics: a bucket names the trace of a request that it counted."""

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from calmops.foundation.metric_names import DURATION, INTER_TOKEN, RUNNING, TTFT
from calmops.messages.record import SCHEMA, Envelope, Record
from calmops.telemetry.exposition.prometheus import exposition, joined, plain, rendered
from calmops.telemetry.metering.counts import Counts
from calmops.telemetry.metering.fold import fold
from calmops.tracing.exemplars import Exemplars
from calmops.tracing.trace_selection import TailSampler
from calmops.tracing.tracer import Tracer, context_of
from tests.support.trace_records import MS, closed, opened, step


def folded(records: list[Record], share: float) -> tuple[Counts, Exemplars]:
    """Return the counts of records, and the exemplars of a tracer that keeps this share of the requests."""
    counts, tracer = Counts(), Tracer(TailSampler(share=share, slowest=0.0), lambda _: None)
    for seq, record in enumerate(records, 1):
        fold(counts, Envelope(schema=SCHEMA, source="gw", seq=seq, record=record))
        tracer.see(record)
    return counts, tracer.exemplars


REQUEST: list[Record] = [opened(), step(10), step(20), closed(350, ttft_ns=30 * MS)]


def test_each_histogram_of_what_a_client_saw_names_the_request_s_trace() -> None:
    counts, exemplars = folded(REQUEST, share=1.0)
    trace = f"{context_of(opened()).trace_id:032x}"
    text = exposition(counts, exemplars, openmetrics=True).decode()
    shown = {
        (family.name, sample.labels["le"], sample.labels.get("at")): sample.exemplar
        for family in text_string_to_metric_families(text) for sample in family.samples if sample.exemplar is not None
    }  # fmt: skip
    assert {exemplar.labels["trace_id"] for exemplar in shown.values()} == {trace}
    assert shown[TTFT.name, "0.04", None].value == 0.03
    assert {at for name, _, at in shown if name == INTER_TOKEN.name} <= {"gateway"}
    assert [edge for name, edge, _ in shown if name == DURATION.name] == ["0.64"]


def test_a_trace_that_wasnt_kept_is_not_named() -> None:
    counts, exemplars = folded(REQUEST, share=0.0)
    assert "trace_id" not in exposition(counts, exemplars, openmetrics=True).decode()


def test_a_request_that_was_opened_and_then_refused_is_named_in_no_histogram() -> None:
    counts, exemplars = folded([opened(), closed(350, outcome="refused_load", ttft_ns=None)], share=1.0)
    assert "trace_id" not in exposition(counts, exemplars, openmetrics=True).decode()


def test_prometheus_older_text_format_has_no_exemplars() -> None:
    counts, exemplars = folded(REQUEST, share=1.0)
    assert exposition(counts, exemplars) == exposition(counts)


def test_several_texts_are_joined_into_one_that_ends_once() -> None:
    counts, exemplars = folded(REQUEST, share=1.0)
    more = rendered([plain(RUNNING, [])], openmetrics=True)
    whole = joined([exposition(counts, exemplars, openmetrics=True), more], openmetrics=True)
    assert whole.count(b"# EOF") == 1
    assert whole.endswith(b"# EOF\n")
    assert b"# EOF" not in joined([exposition(counts), rendered([])])
