"""Declares the metrics that vLLM has too under vLLM's names, so that dashboards made for vLLM work as they are.

Source: vLLM's metrics (docs.vllm.ai, "Production Metrics", v1 engine). vLLM's labels are model_name and engine, which
is our shard. Buckets are ours; vLLM's dashboards work with any.
"""

from calmops.foundation.metric_names import (
    DURATION_EDGES_S,
    INTER_TOKEN_EDGES_S,
    PROMPT_EDGES_TOKENS,
    TTFT_EDGES_S,
    Metric,
)

OF_MODEL, OF_SHARD = ("model_name",), ("model_name", "engine")

TTFT = Metric(
    name="vllm:time_to_first_token_seconds",
    kind="histogram",
    labels=OF_SHARD,
    edges=TTFT_EDGES_S,
    help="Time to first token.",
)
INTER_TOKEN = Metric(
    name="vllm:inter_token_latency_seconds", kind="histogram", labels=OF_SHARD, edges=INTER_TOKEN_EDGES_S,
    help="Time between a request's tokens.",
)  # fmt: skip
DURATION = Metric(
    name="vllm:e2e_request_latency_seconds",
    kind="histogram",
    labels=OF_MODEL,
    edges=DURATION_EDGES_S,
    help="Time from a request's acceptance to its end.",
)
DECODING = Metric(
    name="vllm:request_decode_time_seconds", kind="histogram", labels=OF_MODEL, edges=DURATION_EDGES_S,
    help="Time from a request's first token to its end.",
)  # fmt: skip
QUEUED = Metric(
    name="vllm:request_queue_time_seconds", kind="histogram", labels=OF_MODEL, edges=DURATION_EDGES_S,
    help="Time from a request's acceptance to the start of its first step.",
)  # fmt: skip
PREFILLING = Metric(
    name="vllm:request_prefill_time_seconds", kind="histogram", labels=OF_MODEL, edges=DURATION_EDGES_S,
    help="Time from the start of a request's first step to its first token.",
)  # fmt: skip
PROMPT_LENGTH = Metric(
    name="vllm:request_prompt_tokens",
    kind="histogram",
    labels=OF_MODEL,
    edges=PROMPT_EDGES_TOKENS,
    help="Prompt tokens per request.",
)
ANSWER_LENGTH = Metric(
    name="vllm:request_generation_tokens", kind="histogram", labels=OF_MODEL, edges=PROMPT_EDGES_TOKENS,
    help="Generated tokens per request, all its choices together.",
)  # fmt: skip
LONGEST_ANSWER = Metric(
    name="vllm:request_max_num_generation_tokens", kind="histogram", labels=OF_MODEL, edges=PROMPT_EDGES_TOKENS,
    help="Generated tokens of each request's longest choice.",
)  # fmt: skip
RUNNING = Metric(
    name="vllm:num_requests_running", kind="gauge", labels=OF_SHARD, help="Sequences that hold cache blocks."
)
WAITING = Metric(
    name="vllm:num_requests_waiting", kind="gauge", labels=OF_SHARD, help="Sequences that are not scheduled yet."
)
KV_USAGE = Metric(
    name="vllm:kv_cache_usage_perc", kind="gauge", labels=OF_SHARD, help="Share of the KV cache in use, 0 to 1."
)
PREEMPTIONS = Metric(name="vllm:num_preemptions_total", kind="counter", labels=OF_SHARD, help="Sequences preempted.")
PROMPT = Metric(name="vllm:prompt_tokens_total", kind="counter", labels=OF_MODEL, help="Prompt tokens.")
GENERATED = Metric(name="vllm:generation_tokens_total", kind="counter", labels=OF_MODEL, help="Generated tokens.")
CACHE_ASKED = Metric(
    name="vllm:prefix_cache_queries_total",
    kind="counter",
    labels=OF_MODEL,
    help="Prompt tokens looked up in the prefix cache.",
)
CACHE_FOUND = Metric(
    name="vllm:prefix_cache_hits_total",
    kind="counter",
    labels=OF_MODEL,
    help="Prompt tokens found in the prefix cache.",
)
ENDED = Metric(
    name="vllm:request_success_total",
    kind="counter",
    labels=("model_name", "finished_reason"),
    help="Requests that ended, by reason.",
)
REASONS = {
    "completed": "stop",
    "loop_guard": "stop",
    "length": "length",
    "client_cancelled": "abort",
    "timeout": "abort",
}

METRICS = (
    TTFT, INTER_TOKEN, DURATION, QUEUED, PREFILLING, DECODING, PROMPT_LENGTH, ANSWER_LENGTH, LONGEST_ANSWER, RUNNING,
    WAITING, KV_USAGE, PREEMPTIONS, PROMPT, GENERATED, CACHE_ASKED, CACHE_FOUND, ENDED,
)  # fmt: skip
