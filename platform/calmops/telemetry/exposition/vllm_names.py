"""What vLLM calls the metrics that we have too, so that dashboards made for vLLM work as they are.

Source: vLLM's metrics (docs.vllm.ai, "Production Metrics", v1 engine). Labels there: model_name and engine, which is our shard.
Buckets are ours, which vLLM's dashboards don't mind.
"""

from calmops.foundation.metric_names import (
    DURATION_EDGES_S,
    INTER_TOKEN_EDGES_S,
    PROMPT_EDGES_TOKENS,
    TTFT_EDGES_S,
    Metric,
)

WHOLE, EACH = ("model_name",), ("model_name", "engine")

TTFT = Metric(
    name="vllm:time_to_first_token_seconds",
    kind="histogram",
    labels=EACH,
    edges=TTFT_EDGES_S,
    help="Time to first token.",
)
INTER_TOKEN = Metric(
    name="vllm:inter_token_latency_seconds", kind="histogram", labels=EACH, edges=INTER_TOKEN_EDGES_S,
    help="Time between a request's tokens.",
)  # fmt: skip
DURATION = Metric(
    name="vllm:e2e_request_latency_seconds",
    kind="histogram",
    labels=WHOLE,
    edges=DURATION_EDGES_S,
    help="Time of whole requests.",
)
DECODING = Metric(
    name="vllm:request_decode_time_seconds", kind="histogram", labels=WHOLE, edges=DURATION_EDGES_S,
    help="First token of a request to its end.",
)  # fmt: skip
QUEUED = Metric(
    name="vllm:request_queue_time_seconds", kind="histogram", labels=WHOLE, edges=DURATION_EDGES_S,
    help="Acceptance of a request to the start of its first step.",
)  # fmt: skip
PREFILLING = Metric(
    name="vllm:request_prefill_time_seconds", kind="histogram", labels=WHOLE, edges=DURATION_EDGES_S,
    help="Start of a request's first step to its first token.",
)  # fmt: skip
PROMPT_LENGTH = Metric(
    name="vllm:request_prompt_tokens",
    kind="histogram",
    labels=WHOLE,
    edges=PROMPT_EDGES_TOKENS,
    help="Prompt tokens of a request.",
)
ANSWER_LENGTH = Metric(
    name="vllm:request_generation_tokens", kind="histogram", labels=WHOLE, edges=PROMPT_EDGES_TOKENS,
    help="Generated tokens of a request, of all its choices.",
)  # fmt: skip
LONGEST_ANSWER = Metric(
    name="vllm:request_max_num_generation_tokens", kind="histogram", labels=WHOLE, edges=PROMPT_EDGES_TOKENS,
    help="Generated tokens of a request's longest choice.",
)  # fmt: skip
RUNNING = Metric(name="vllm:num_requests_running", kind="gauge", labels=EACH, help="Sequences in the batch.")
WAITING = Metric(name="vllm:num_requests_waiting", kind="gauge", labels=EACH, help="Sequences that wait.")
KV_USAGE = Metric(
    name="vllm:kv_cache_usage_perc", kind="gauge", labels=EACH, help="Share of the KV cache in use, 0 to 1."
)
PREEMPTIONS = Metric(name="vllm:num_preemptions_total", kind="counter", labels=EACH, help="Sequences preempted.")
PROMPT = Metric(name="vllm:prompt_tokens_total", kind="counter", labels=WHOLE, help="Prompt tokens.")
GENERATED = Metric(name="vllm:generation_tokens_total", kind="counter", labels=WHOLE, help="Generated tokens.")
CACHE_ASKED = Metric(
    name="vllm:prefix_cache_queries_total",
    kind="counter",
    labels=WHOLE,
    help="Prompt tokens looked up in the prefix cache.",
)
CACHE_FOUND = Metric(
    name="vllm:prefix_cache_hits_total", kind="counter", labels=WHOLE, help="Prompt tokens found there."
)
ENDED = Metric(
    name="vllm:request_success_total",
    kind="counter",
    labels=("model_name", "finished_reason"),
    help="Requests that ended, by why.",
)
REASONS = {
    "completed": "stop",
    "loop_guard": "stop",
    "length": "length",
    "client_cancelled": "abort",
    "timeout": "abort",
}

METRICS = (
    TTFT, INTER_TOKEN, DURATION, QUEUED, PREFILLING, DECODING, PROMPT_LENGTH, ANSWER_LENGTH, LONGEST_ANSWER, RUNNING, WAITING, KV_USAGE,
    PREEMPTIONS, PROMPT, GENERATED, CACHE_ASKED, CACHE_FOUND, ENDED,
)  # fmt: skip
