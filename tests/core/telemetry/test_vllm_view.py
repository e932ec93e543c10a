"""The same counts under vLLM's names."""

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from calmops.foundation.vllm_names import METRICS
from calmops.messages.record import Labels, Record
from calmops.telemetry.counts import Counts
from calmops.telemetry.fold import fold
from calmops.telemetry.vllm_view import vllm_exposition
from tests.core.telemetry.records import closed, envelopes, frame, opened


def test_every_name_is_there_and_says_what_ours_say() -> None:
    counts = Counts()
    canary = Labels(variant="canary")
    records: list[Record] = [
        opened("a", prompt_tokens=7), msgspec.structs.replace(opened("b", prompt_tokens=2), labels=canary), frame(1, gap_ns=None), frame(2),
        closed("a"), msgspec.structs.replace(closed("b", outcome="length"), labels=canary, shard=0), closed("c", outcome="failed"),
    ]  # fmt: skip
    for envelope in envelopes("gw", records):
        fold(counts, envelope)
    families = {one.name: one for one in text_string_to_metric_families(vllm_exposition(counts).decode())}
    assert families.keys() == {one.name.removesuffix("_total") for one in METRICS}
    values = {(s.name, *sorted(s.labels.items())): s.value for one in families.values() for s in one.samples}
    model, engine = ("model_name", "m"), ("engine", "0")
    assert values["vllm:prompt_tokens_total", model] == 9, "variants are added up"
    assert values["vllm:generation_tokens_total", model] == 4
    assert values["vllm:num_requests_running", engine, model] == 2
    assert values["vllm:kv_cache_usage_perc", engine, model] == 4 / 64
    assert values["vllm:inter_token_latency_seconds_count", engine, model] == 2
    assert values["vllm:time_to_first_token_seconds_count", engine, model] == 1
    assert values["vllm:request_success_total", ("finished_reason", "stop"), model] == 1
    assert values["vllm:request_success_total", ("finished_reason", "length"), model] == 1
    assert ("vllm:request_success_total", ("finished_reason", "failed"), model) not in values
