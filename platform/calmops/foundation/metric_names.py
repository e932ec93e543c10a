"""Every metric's name, help, labels and buckets, once. Exposition, rules, dashboards and runbooks read them here.

Buckets are upper edges in seconds unless said otherwise. Sources: OpenTelemetry GenAI semantic conventions
(time to first token, time per output token, request duration), vLLM's inter-token latency.
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
# Shown from the beginning, so that the first drop, the first event, the first failure is seen as an increase. An event's
# reasons are those that are fixed where it is counted; others, an error's name as it may be, are shown once they were met.
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
    """One metric family."""

    name: str
    kind: str  # "counter", "gauge" or "histogram"
    help: str
    labels: tuple[str, ...]
    edges: tuple[float, ...] = ()


TTFT = Metric(
    name="gen_ai_server_time_to_first_token_seconds", kind="histogram", labels=MODEL, edges=TTFT_EDGES_S,
    help="Acceptance of the request to its first token's bytes handed to the HTTP server.",
)  # fmt: skip
DURATION = Metric(
    name="gen_ai_server_request_duration_seconds", kind="histogram", labels=MODEL, edges=DURATION_EDGES_S,
    help="Acceptance of the request to its end; of those that were refused there is none.",
)  # fmt: skip
PER_OUTPUT_TOKEN = Metric(
    name="gen_ai_server_time_per_output_token_seconds", kind="histogram", labels=MODEL, edges=PER_OUTPUT_TOKEN_EDGES_S,
    help="Of a request that ended well: its time after the first token, over the delivered tokens after it, of all its choices.",
)  # fmt: skip
STAGE = Metric(
    name="calmops_request_stage_seconds", kind="histogram", labels=(*MODEL, "stage"), edges=DURATION_EDGES_S,
    help="Where a request's time goes: queue, acceptance to its first step; prefill, from there to its first token; decode, from there to its end.",
)  # fmt: skip
INTER_TOKEN = Metric(
    name="calmops_inter_token_latency_seconds", kind="histogram", labels=(*MODEL, "at"), edges=INTER_TOKEN_EDGES_S,
    help="Time since the choice's previous token, on the engine's and on the gateway's clock.",
)  # fmt: skip
STEP_DURATION = Metric(
    name="calmops_step_duration_seconds", kind="histogram", labels=(*MODEL, "shard"), edges=STEP_EDGES_S,
    help="One forward pass, plan to sampled tokens.",
)  # fmt: skip
BATCH_ROWS = Metric(
    name="calmops_batch_rows", kind="histogram", labels=(*MODEL, "shard"), edges=BATCH_EDGES_ROWS,
    help="Token rows in one forward pass.",
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
    help="Placements of ended requests on replicas; those beyond one a request are migrations.",
)  # fmt: skip
PROMPT_LENGTH = Metric(
    name="calmops_prompt_tokens", kind="histogram", labels=MODEL, edges=PROMPT_EDGES_TOKENS, help="Tokens of a prompt."
)
TOKENIZED_CHARS = Metric(
    name="calmops_tokenized_characters_total",
    kind="counter",
    labels=MODEL,
    help="Characters of prompts that came as text.",
)
TOKENIZED_TOKENS = Metric(
    name="calmops_tokenized_tokens_total", kind="counter", labels=MODEL,
    help="Tokens of prompts that came as text: fewer characters a token than usual is text that the tokenizer wasn't made for.",
)  # fmt: skip
LEDGER_UNKNOWN = Metric(
    name="calmops_ledger_unknown_total", kind="counter", labels=MODEL,
    help="Ended requests whose token ledger can't be shown to hold.",
)  # fmt: skip
STEPS = Metric(name="calmops_steps_total", kind="counter", labels=(*MODEL, "shard"), help="Forward passes.")
PREEMPTIONS = Metric(
    name="calmops_preemptions_total", kind="counter", labels=(*MODEL, "shard"), help="Sequences preempted."
)
RUNNING = Metric(
    name="calmops_running_sequences", kind="gauge", labels=(*MODEL, "shard"), help="Sequences holding cache blocks."
)
WAITING = Metric(
    name="calmops_waiting_sequences", kind="gauge", labels=(*MODEL, "shard"), help="Sequences not yet scheduled."
)
KV_USED = Metric(name="calmops_kv_blocks_used", kind="gauge", labels=(*MODEL, "shard"), help="KV cache blocks in use.")
KV_TOTAL = Metric(name="calmops_kv_blocks_total", kind="gauge", labels=(*MODEL, "shard"), help="KV cache blocks.")
DROPPED = Metric(
    name="calmops_dropped_records_total", kind="counter", labels=("reason",),
    help="Telemetry records that never reached the spool.",
)  # fmt: skip
DROPPED_TOKENS = Metric(
    name="calmops_dropped_tokens_total", kind="counter", labels=("reason",),
    help="Generated tokens whose record never reached the spool.",
)  # fmt: skip
DUPLICATES = Metric(
    name="calmops_duplicate_records_total", kind="counter", labels=(), help="Records read again and not counted again."
)
GAPS = Metric(
    name="calmops_record_gaps_total", kind="counter", labels=(), help="Records missing from a source's numbering: lost."
)
MISSING = Metric(
    name="calmops_missing_records",
    kind="gauge",
    labels=(),
    help="Records below a source's newest, not seen yet: late or lost.",
)
FOLDED = Metric(name="calmops_records_total", kind="counter", labels=(), help="Telemetry records counted.")
UNREADABLE = Metric(
    name="calmops_unreadable_records_total", kind="counter", labels=(),
    help="Log entries that this meter can't count: of another schema version, or garbage.",
)  # fmt: skip
EVENT = Metric(
    name="calmops_events_total", kind="counter", labels=(*MODEL, "name", "reason"), help="Plain counts from gateways."
)
REPORTS = Metric(
    name="calmops_reported_total", kind="counter", labels=(*MODEL, "name", RESULT),
    help="What scanners, judges and drift jobs reported: answers found good and bad.",
)  # fmt: skip
REPORTED_VALUE = Metric(
    name="calmops_reported_value", kind="gauge", labels=(*MODEL, "name"),
    help="The latest value that was reported: of a drift check, the divergence in its own unit.",
)  # fmt: skip
COUNTING_SINCE = Metric(
    name="calmops_counting_since_seconds", kind="gauge", labels=(), help="Unix time from which the meter has counted."
)

OBJECTIVE_EVENTS = Metric(
    name="calmops_objective_events_total", kind="counter", labels=("objective", *MODEL, "shard", RESULT),
    help="Events that an objective counts, as good or bad.",
)  # fmt: skip
COST = Metric(
    name="calmops_cost_per_1k_tokens", kind="gauge", labels=MODEL,
    help="What 1,000 delivered tokens cost over the last hour, in the price file's currency.",
)  # fmt: skip
SPENDING = Metric(
    name="calmops_cost_per_hour", kind="gauge", labels=("model", "environment", "pricing"),
    help="What a model's replicas cost an hour, by how they are paid for: owned, reserved, on_demand.",
)  # fmt: skip

GANGS = Metric(
    name="calmops_gangs",
    kind="gauge",
    labels=("model", "node", "state"),
    help="Gangs that report: serving, or draining.",
)
NODES = Metric(
    name="calmops_nodes",
    kind="gauge",
    labels=("state",),
    help="Nodes of the Ray cluster: alive, or dead since the cluster's start.",
)
OOM_KILLS = Metric(
    name="calmops_oom_kills_total",
    kind="counter",
    labels=("node",),
    help="Processes that a node's kernel killed for want of memory.",
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
    help="Share of time in which a GPU computed, 0 to 1.",
)

READ_FAILURES = Metric(
    name="calmops_meter_read_failures_total", kind="counter", labels=("part",),
    help="Times that the meter couldn't read or save: the log, one gateway's spool file, its own state, or for a reason unforeseen. It tries again.",
)  # fmt: skip
WATCH_FAILURES = Metric(
    name="calmops_watch_failures_total", kind="counter", labels=("part",),
    help="Times that something beside the meter broke: on a record, a look at the counts, the cluster's roster, a file of objectives or prices, what the evaluator remembers. "
    "Counting itself went on.",
)  # fmt: skip
TRACES = Metric(
    name="calmops_traces_total", kind="counter", labels=("result",),
    help="Traces that were kept, by why, and those that were lost: of requests whose beginning this meter didn't see, or too many at once.",
)  # fmt: skip
SPANS = Metric(
    name="calmops_spans_total", kind="counter", labels=("result",),
    help="Spans of kept traces: sent, taken by the receiver, refused by it after every retry. Sent and neither: waiting, or dropped while it was away.",
)  # fmt: skip

BESIDE_COUNTS = (
    OBJECTIVE_EVENTS,
    COST,
    SPENDING,
    GANGS,
    NODES,
    OOM_KILLS,
    GPU_USED,
    GPU_TOTAL,
    GPU_BUSY,
    READ_FAILURES,
    WATCH_FAILURES,
    TRACES,
    SPANS,
)  # shown beside what is counted
METRICS = (
    TTFT, PER_OUTPUT_TOKEN, DURATION, STAGE, INTER_TOKEN, STEP_DURATION, BATCH_ROWS, TOKENS, REQUESTS, ACCEPTED, LEDGER_UNKNOWN, STEPS, ATTEMPTS,
    PROMPT_LENGTH, TOKENIZED_CHARS, TOKENIZED_TOKENS,
    PREEMPTIONS, RUNNING, WAITING, KV_USED, KV_TOTAL, DROPPED, DROPPED_TOKENS, DUPLICATES, GAPS, MISSING, FOLDED, UNREADABLE,
    EVENT, REPORTS, REPORTED_VALUE, COUNTING_SINCE,
)  # fmt: skip
