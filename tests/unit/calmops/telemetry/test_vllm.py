"""Tests the counts under vLLM's names."""

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from calmops.foundation.model_labels import ModelLabels
from calmops.messages.record import Record
from calmops.telemetry.exposition.prometheus import GAUGES_NS
from calmops.telemetry.exposition.vllm import vllm_exposition
from calmops.telemetry.exposition.vllm_names import METRICS
from calmops.telemetry.metering.counts import Counts
from calmops.telemetry.metering.fold import fold
from calmops.telemetry.metering.retired_labels import retire
from tests.support.telemetry_records import T0_NS, closed, envelopes, frame, opened

# What the dashboard in vLLM's repository asks for, each with the label model_name alone
# (examples/online_serving/prometheus_grafana/grafana.json).
ASKED = (
    "e2e_request_latency_seconds", "prompt_tokens_total", "generation_tokens_total", "inter_token_latency_seconds",
    "num_requests_running", "num_requests_waiting", "time_to_first_token_seconds", "kv_cache_usage_perc",
    "request_prompt_tokens", "request_generation_tokens", "request_success_total", "request_queue_time_seconds",
    "request_prefill_time_seconds", "request_decode_time_seconds", "request_max_num_generation_tokens",
)  # fmt: skip


def test_every_metric_that_vllm_s_own_dashboard_asks_for_is_declared() -> None:
    labels = {metric.name: metric.labels for metric in METRICS}
    assert {name for name in ASKED if "model_name" not in labels.get(f"vllm:{name}", ())} == set()


def test_every_declared_metric_is_shown_with_our_counts_values() -> None:
    counts = Counts()
    canary = ModelLabels(variant="canary").rest
    records: list[Record] = [
        opened("a", prompt_tokens=7), msgspec.structs.replace(opened("b", prompt_tokens=2), labels=canary),
        frame(1, gap_ns=None), frame(2), closed("a", queued_ns=2_000_000, longest=4),
        msgspec.structs.replace(closed("b", outcome="length"), labels=canary, shard=0), closed("c", outcome="failed"),
    ]  # fmt: skip
    for envelope in envelopes("gw", records):
        fold(counts, envelope)
    families = {family.name: family for family in text_string_to_metric_families(vllm_exposition(counts).decode())}
    assert families.keys() == {metric.name.removesuffix("_total") for metric in METRICS}
    values = {(s.name, *sorted(s.labels.items())): s.value for family in families.values() for s in family.samples}
    model, engine = ("model_name", "m"), ("engine", "0")
    assert values["vllm:prompt_tokens_total", model] == 9, "variants are added up"
    assert values["vllm:generation_tokens_total", model] == 4
    assert values["vllm:num_requests_running", engine, model] == 2
    assert values["vllm:kv_cache_usage_perc", engine, model] == 4 / 64
    assert values["vllm:inter_token_latency_seconds_count", engine, model] == 2
    assert values["vllm:time_to_first_token_seconds_count", engine, model] == 1
    assert values["vllm:request_success_total", ("finished_reason", "stop"), model] == 1
    assert values["vllm:request_success_total", ("finished_reason", "length"), model] == 1
    assert values["vllm:request_success_total", ("finished_reason", "abort"), model] == 0, (
        "so that the first is seen as a rise"
    )
    assert ("vllm:request_success_total", ("finished_reason", "failed"), model) not in values
    assert [values[f"vllm:request_{what}_tokens_sum", model] for what in ("prompt", "generation")] == [9, 9]
    assert values["vllm:request_decode_time_seconds_count", model] == 3
    assert values["vllm:request_queue_time_seconds_sum", model] == 0.002
    assert values["vllm:request_prefill_time_seconds_count", model] == 1
    assert values["vllm:request_max_num_generation_tokens_sum", model] == 4


def test_a_shard_that_is_no_longer_heard_of_has_no_gauge_and_keeps_its_counts() -> None:
    counts = Counts()
    for envelope in envelopes("gw", [frame(1), frame(2)]):
        fold(counts, envelope, T0_NS)
    assert b"vllm:num_requests_running{" in vllm_exposition(counts, now_ns=T0_NS)
    gone = vllm_exposition(counts, now_ns=T0_NS + GAUGES_NS)
    assert not [name for name in (b"vllm:num_requests_running{", b"vllm:kv_cache_usage_perc{") if name in gone]
    assert b"vllm:inter_token_latency_seconds_count{" in gone


def test_retired_releases_are_still_part_of_their_model_s_sums() -> None:
    counts = Counts()
    old, new = (
        msgspec.structs.replace(closed("a", at_ns=T0_NS + at_ns), labels=ModelLabels(version=str(at_ns)).rest, shard=0)
        for at_ns in (0, 9)
    )
    for envelope in envelopes("gw", [old, new]):
        fold(counts, envelope)
    before = vllm_exposition(counts)
    retire(counts, T0_NS + 5)
    assert len(counts.models) == 1
    assert vllm_exposition(counts) == before
