"""Declares every metric's name, help, labels and buckets, once, for exposition, rules, dashboards and runbooks.

Buckets are upper edges, in seconds unless their name has another unit. Sources: OpenTelemetry GenAI semantic
conventions (time to first token, time per output token, request duration), vLLM's inter-token latency.
"""

from msgspec import Struct

from calmops.foundation.model_labels import MODEL_LABELS

TTFT_EDGES_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
DURATION_EDGES_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
INTER_TOKEN_EDGES_S = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
PER_OUTPUT_TOKEN_EDGES_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
STEP_EDGES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
BATCH_EDGES_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)  # rows, that is tokens

PROMPT_EDGES_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)

MODEL = MODEL_LABELS
RESULT, GOOD, BAD = "result", "good", "bad"
TOKEN_KINDS = ("prompt", "cached", "generated", "delivered", "recomputed", "discarded")
# These are shown as 0 from the beginning, so that the first drop, event or failure is seen as an increase. An event's
# reasons here are those that its code fixes; others, such as the name of an error, are shown once they occurred.
DROP_REASONS = ("ring_full", "spool_full", "spool_unavailable")
EVENT_REASONS: dict[str, tuple[str, ...]] = {
    "spool_unavailable": ("opening_record_not_committed",),
    "fenced_frames": ("older_attempt", "lost_gang"),
    "migrations": ("replica_lost",),
    "tokenization_errors": ("release_mismatch", "encode", "decode"),
    "stalled_gangs": ("silent",),
    "exact_lost": ("other_fingerprint",),
    "slow_clients_cut": ("write_blocked",),
    "safety_blocks": (),
    "capture_failures": (),
    "log_failures": ("queue_full",),
}
EVENTS = tuple(EVENT_REASONS)
STAGES = ("queue", "prefill", "decode")
READ_PARTS = ("log", "spool_file", "save", "unexpected")
WATCH_PARTS = ("records", "look", "roster", "objectives", "prices", "memory")


class Metric(Struct, frozen=True, kw_only=True):
    """Declares one metric family."""

    name: str
    kind: str  # "counter", "gauge" or "histogram"
    help: str
    labels: tuple[str, ...]
    edges: tuple[float, ...] = ()


TTFT = Metric(
    name="gen_ai_server_time_to_first_token_seconds", kind="histogram", labels=MODEL, edges=TTFT_EDGES_S,
    help="Time from a request's acceptance until the bytes of its first token are handed to the HTTP server.",
)  # fmt: skip
DURATION = Metric(
    name="gen_ai_server_request_duration_seconds", kind="histogram", labels=MODEL, edges=DURATION_EDGES_S,
    help="Time from a request's acceptance to its end. Requests that were refused are not counted.",
)  # fmt: skip
PER_OUTPUT_TOKEN = Metric(
    name="gen_ai_server_time_per_output_token_seconds", kind="histogram", labels=MODEL, edges=PER_OUTPUT_TOKEN_EDGES_S,
    help="Time after the first token per token delivered after it, of all choices of a request that ended well.",
)  # fmt: skip
STAGE = Metric(
    name="calmops_request_stage_seconds", kind="histogram", labels=(*MODEL, "stage"), edges=DURATION_EDGES_S,
    help=(
        "Time of a request's stages: queue, from acceptance to its first step; prefill, from there to its first token; "
        "decode, from there to its end."
    ),
)  # fmt: skip
INTER_TOKEN = Metric(
    name="calmops_inter_token_latency_seconds", kind="histogram", labels=(*MODEL, "at"), edges=INTER_TOKEN_EDGES_S,
    help="Time since the previous token of the same choice, by the engine's clock and by the gateway's.",
)  # fmt: skip
STEP_DURATION = Metric(
    name="calmops_step_duration_seconds", kind="histogram", labels=(*MODEL, "shard"), edges=STEP_EDGES_S,
    help="Time of one forward pass, from the plan to the sampled tokens.",
)  # fmt: skip
BATCH_ROWS = Metric(
    name="calmops_batch_rows", kind="histogram", labels=(*MODEL, "shard"), edges=BATCH_EDGES_ROWS,
    help="Rows (tokens) in one forward pass.",
)  # fmt: skip
TOKENS = Metric(
    name="calmops_tokens_total", kind="counter", labels=(*MODEL, "kind"),
    help="Tokens by kind: prompt, cached, generated, delivered, recomputed, discarded.",
)  # fmt: skip
REQUESTS = Metric(
    name="calmops_requests_total", kind="counter", labels=(*MODEL, "outcome"), help="Requests that ended, by outcome."
)
ACCEPTED = Metric(
    name="calmops_accepted_requests_total", kind="counter", labels=MODEL, help="Requests that were accepted."
)
ATTEMPTS = Metric(
    name="calmops_attempts_total", kind="counter", labels=MODEL,
    help="Attempts of ended requests on replicas; each one after a request's first is a migration.",
)  # fmt: skip
PROMPT_LENGTH = Metric(
    name="calmops_prompt_tokens", kind="histogram", labels=MODEL, edges=PROMPT_EDGES_TOKENS, help="Tokens per prompt."
)
TOKENIZED_CHARS = Metric(
    name="calmops_tokenized_characters_total",
    kind="counter",
    labels=MODEL,
    help="Characters of prompts that came as text.",
)
TOKENIZED_TOKENS = Metric(
    name="calmops_tokenized_tokens_total", kind="counter", labels=MODEL,
    help=(
        "Tokens of prompts that came as text. Fewer characters per token than usual mean text that the tokenizer "
        "wasn't made for."
    ),
)  # fmt: skip
LEDGER_UNKNOWN = Metric(
    name="calmops_ledger_unknown_total", kind="counter", labels=MODEL,
    help="Ended requests for which journaled = delivered + discarded can't be shown.",
)  # fmt: skip
STEPS = Metric(name="calmops_steps_total", kind="counter", labels=(*MODEL, "shard"), help="Forward passes.")
PREEMPTIONS = Metric(
    name="calmops_preemptions_total", kind="counter", labels=(*MODEL, "shard"), help="Sequences preempted."
)
RUNNING = Metric(
    name="calmops_running_sequences", kind="gauge", labels=(*MODEL, "shard"), help="Sequences that hold cache blocks."
)
WAITING = Metric(
    name="calmops_waiting_sequences",
    kind="gauge",
    labels=(*MODEL, "shard"),
    help="Sequences that are not scheduled yet.",
)
KV_USED = Metric(name="calmops_kv_blocks_used", kind="gauge", labels=(*MODEL, "shard"), help="KV cache blocks in use.")
KV_TOTAL = Metric(name="calmops_kv_blocks_total", kind="gauge", labels=(*MODEL, "shard"), help="KV cache blocks.")
DROPPED = Metric(
    name="calmops_dropped_records_total", kind="counter", labels=("reason",),
    help="Telemetry records that never reached the spool.",
)  # fmt: skip
DROPPED_TOKENS = Metric(
    name="calmops_dropped_tokens_total", kind="counter", labels=("reason",),
    help="Generated tokens whose telemetry record never reached the spool.",
)  # fmt: skip
DUPLICATES = Metric(
    name="calmops_duplicate_records_total",
    kind="counter",
    labels=(),
    help="Records that were read again and not counted again.",
)
GAPS = Metric(
    name="calmops_record_gaps_total",
    kind="counter",
    labels=(),
    help="Records lost for good: numbers missing in a source.",
)
MISSING = Metric(
    name="calmops_missing_records",
    kind="gauge",
    labels=(),
    help="Records older than their source's newest that were not seen yet: late or lost.",
)
FOLDED = Metric(name="calmops_records_total", kind="counter", labels=(), help="Telemetry records counted.")
UNREADABLE = Metric(
    name="calmops_unreadable_records_total", kind="counter", labels=(),
    help="Log entries that the meter can't count: another schema version, or garbage.",
)  # fmt: skip
EVENT = Metric(
    name="calmops_events_total", kind="counter", labels=(*MODEL, "name", "reason"), help="Events that gateways count."
)
REPORTS = Metric(
    name="calmops_reported_total", kind="counter", labels=(*MODEL, "name", RESULT),
    help="Answers that scanners, judges and drift jobs reported as good or bad.",
)  # fmt: skip
REPORTED_VALUE = Metric(
    name="calmops_reported_value", kind="gauge", labels=(*MODEL, "name"),
    help="The latest value reported by a drift check: its divergence, in the check's own unit.",
)  # fmt: skip
COUNTING_SINCE = Metric(
    name="calmops_counting_since_seconds", kind="gauge", labels=(), help="Unix time since which the meter has counted."
)

OBJECTIVE_EVENTS = Metric(
    name="calmops_objective_events_total", kind="counter", labels=("objective", *MODEL, "shard", RESULT),
    help="Events that an objective counts as good or bad.",
)  # fmt: skip
COST = Metric(
    name="calmops_cost_per_1k_tokens", kind="gauge", labels=MODEL,
    help="Cost of 1,000 delivered tokens over the last hour, in the currency of prices.yaml.",
)  # fmt: skip
SPENDING = Metric(
    name="calmops_cost_per_hour", kind="gauge", labels=("model", "environment", "pricing"),
    help="Cost per hour of a model's replicas, by how they are paid for: owned, reserved, on_demand.",
)  # fmt: skip

GANGS = Metric(
    name="calmops_gangs",
    kind="gauge",
    labels=("model", "node", "state"),
    help="Gangs that report, by state: serving or draining.",
)
NODES = Metric(
    name="calmops_nodes",
    kind="gauge",
    labels=("state",),
    help="Nodes of the Ray cluster, by state: alive, or dead since the cluster's start.",
)
OOM_KILLS = Metric(
    name="calmops_oom_kills_total",
    kind="counter",
    labels=("node",),
    help="Processes that a node's kernel killed because memory ran out.",
)
GPU_USED = Metric(
    name="calmops_gpu_memory_used_bytes",
    kind="gauge",
    labels=("node", "gpu"),
    help="GPU memory in use; no series where there is no GPU.",
)
GPU_TOTAL = Metric(name="calmops_gpu_memory_total_bytes", kind="gauge", labels=("node", "gpu"), help="GPU memory.")
GPU_BUSY = Metric(
    name="calmops_gpu_busy_ratio",
    kind="gauge",
    labels=("node", "gpu"),
    help="Share of time in which a GPU was computing, 0 to 1.",
)

READ_FAILURES = Metric(
    name="calmops_meter_read_failures_total", kind="counter", labels=("part",),
    help=(
        "Failures of the meter, which then tries again: to read the log, to read one gateway's spool file, to save its "
        "own state, or unexpected."
    ),
)  # fmt: skip
WATCH_FAILURES = Metric(
    name="calmops_watch_failures_total", kind="counter", labels=("part",),
    help=(
        "Failures beside the meter, which goes on counting: with a record, a look at the counts, the cluster's roster, "
        "a file of objectives or prices, or the evaluator's saved sums."
    ),
)  # fmt: skip
TRACES = Metric(
    name="calmops_traces_total", kind="counter", labels=("result",),
    help=(
        "Traces that were kept, by reason, and traces that were lost: the meter didn't see the request's beginning, "
        "or there were too many at once."
    ),
)  # fmt: skip
SPANS = Metric(
    name="calmops_spans_total", kind="counter", labels=("result",),
    help=(
        "Spans of kept traces: sent, accepted by the receiver, or refused by it after every retry. The rest of those "
        "sent are waiting, or were dropped while the receiver was away."
    ),
)  # fmt: skip

# Metrics that are shown beside the counts.
BESIDE_COUNTS = (
    OBJECTIVE_EVENTS, COST, SPENDING, GANGS, NODES, OOM_KILLS, GPU_USED, GPU_TOTAL, GPU_BUSY, READ_FAILURES,
    WATCH_FAILURES, TRACES, SPANS,
)  # fmt: skip
# Metrics of the counts themselves.
METRICS = (
    TTFT, PER_OUTPUT_TOKEN, DURATION, STAGE, INTER_TOKEN, STEP_DURATION, BATCH_ROWS, TOKENS, REQUESTS, ACCEPTED,
    LEDGER_UNKNOWN, STEPS, ATTEMPTS, PROMPT_LENGTH, TOKENIZED_CHARS, TOKENIZED_TOKENS, PREEMPTIONS, RUNNING, WAITING,
    KV_USED, KV_TOTAL, DROPPED, DROPPED_TOKENS, DUPLICATES, GAPS, MISSING, FOLDED, UNREADABLE, EVENT, REPORTS,
    REPORTED_VALUE, COUNTING_SINCE,
)  # fmt: skip
