"""Builds the debug dashboard: where the time of a token goes, step by step, and what telemetry itself lost.

Knows metrics and where each is shown, not how a panel looks.
"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from calmops.foundation import metric_names as names
from dashboards.pages.executive import reported_answers
from dashboards.pages.log_and_trace_panels import KeptTraces, LogLines
from dashboards.pages.on_call import AT_GATEWAY
from dashboards.pages.panels import HALF, THIRD, Heat, Lines, Query, Rows, Section, Words, dashboard
from dashboards.pages.promql import RANGE, SHARD, VERSION, buckets, increase, increase_per_series, percentile, rate

SHARD_LEGEND = "{{model}}/{{shard}}"
VERSION_LEGEND = "{{model}} {{version}} {{variant}}"
READ = """A token's time is measured twice: `engine` is stamped in the step, `gateway` when its bytes are handed to the
HTTP server; the difference is the framework's own share. To see every token of a slow request: `calmops requests`, then
its row of the token strip in `/console`. Traces and logs have the same `x-request-id`."""


def build() -> Dashboard:
    """Build `calmops-debug`."""
    sections = (
        _token_by_token(),
        _one_request(),
        _steps(),
        _two_versions(),
        reported_answers(),
        _prompts(),
        _tokens_and_telemetry(),
    )
    return dashboard("calmops-debug", "calmops: debug", "Where the time of a token goes.", sections)


def _token_by_token() -> Section:
    panels = (
        Words("How to read this", READ),
        Heat("Time between tokens, at the gateway", Query(buckets(names.INTER_TOKEN, VERSION, AT_GATEWAY), "{{le}}")),
        Lines(
            "Time between tokens p99, on both clocks",
            "s",
            (Query(percentile(0.99, names.INTER_TOKEN, "model, at", VERSION), "{{model}} {{at}}"),),
        ),
        Lines(
            "Time per output token",
            "s",
            tuple(
                Query(percentile(share, names.PER_OUTPUT_TOKEN, "model", VERSION), f"p{share * 100:g} {{{{model}}}}")
                for share in (0.5, 0.99)
            ),
            description=(
                "Each request's mean after its first token, as OpenTelemetry defines it. "
                "Unlike the panels above, it hides a single long gap."
            ),
        ),
        Heat("Time to first token", Query(buckets(names.TTFT, VERSION), "{{le}}")),
        Lines(
            "Where a request's time goes, p99",
            "s",
            (Query(percentile(0.99, names.STAGE, "model, stage", VERSION), "{{model}} {{stage}}"),),
            description=(
                "Queue: acceptance to its first step. Prefill: from there to its first token. "
                "Decode: from there to its end."
            ),
        ),
        Heat("Whole requests", Query(buckets(names.DURATION, VERSION), "{{le}}")),
    )
    return Section("Token by token", panels)


def _one_request() -> Section:
    panels = (
        KeptTraces(
            "Trace waterfall of a request",
            '{resource.service.name="calmops" && name="request"}',
            HALF,
            description=(
                "All errors, migrations and broken ledgers, the slowest requests, and a share of the rest. "
                "A decode span holds the timing of every token."
            ),
        ),
        LogLines(
            "Request log",
            '{job="calmops"} | json | model=~"$model"',
            HALF,
            description="One line per request that ended or was refused.",
        ),
    )
    return Section("One request", panels)


def _steps() -> Section:
    rows = (rate(names.BATCH_ROWS, "model, shard", SHARD, part=part) for part in ("sum", "count"))
    panels = (
        Lines(
            "Duration of a step",
            "s",
            tuple(
                Query(percentile(share, names.STEP_DURATION, "model, shard", SHARD), f"p{share * 100:g} {SHARD_LEGEND}")
                for share in (0.5, 0.99)
            ),
            width=THIRD,
        ),
        Lines("Rows in a step", "short", (Query(" / ".join(rows), SHARD_LEGEND),), width=THIRD),
        Lines(
            "Steps per second", "short", (Query(rate(names.STEPS, "model, shard", SHARD), SHARD_LEGEND),), width=THIRD
        ),
    )
    return Section("Steps", panels)


def _two_versions() -> Section:
    gap_p99 = percentile(0.99, names.INTER_TOKEN, "model, version, variant", VERSION, AT_GATEWAY)
    placements, requests = (
        rate(metric, "model, version, variant", VERSION) for metric in (names.ATTEMPTS, names.REQUESTS)
    )
    bad = rate(names.OBJECTIVE_EVENTS, "objective, version, variant", VERSION, 'result="bad"')
    events = rate(names.OBJECTIVE_EVENTS, "objective, version, variant", VERSION)
    by_result = increase(names.OBJECTIVE_EVENTS, "objective, version, variant, result", VERSION, span=RANGE)
    panels = (
        Lines("Time between tokens p99, by version", "s", (Query(gap_p99, VERSION_LEGEND),)),
        Lines(
            "Placements per request, by version",
            "short",
            (Query(f"{placements} / {requests}", VERSION_LEGEND),),
            description="1, except for migrations and requests that were refused at once.",
        ),
        Lines(
            "Bad events, by version and variant",
            "percentunit",
            (Query(f"{bad} / ({events} > 0)", "{{objective}} {{version}} {{variant}}"),),
            description="Choose one model and two versions above.",
        ),
        Rows(
            "Events, by version and variant",
            Query(by_result),
            {
                "objective": "Objective",
                "version": "Version",
                "variant": "Variant",
                "result": "Result",
                "Value": "Events",
            },
        ),
    )
    return Section("Two versions", panels)


def _prompts() -> Section:
    characters, tokens = (rate(metric, "model", VERSION) for metric in (names.TOKENIZED_CHARS, names.TOKENIZED_TOKENS))
    panels = (
        Heat("Tokens of a prompt", Query(buckets(names.PROMPT_LENGTH, VERSION), "{{le}}")),
        Lines(
            "Characters per token",
            "short",
            (Query(f"{characters} / ({tokens} > 0)", "{{model}}"),),
            description="If it falls, the text is of a kind unknown to the tokenizer, or the tokenizer changed.",
        ),
    )
    return Section("Prompts", panels)


def _tokens_and_telemetry() -> Section:
    lost_records = (
        Query(increase(names.DROPPED, "reason"), "dropped {{reason}}"),
        Query(names.MISSING.name, "late or lost"),
        Query(increase_per_series(names.DUPLICATES), "duplicate"),
        Query(increase_per_series(names.UNREADABLE), "unreadable"),
        Query(increase_per_series(names.GAPS), "lost"),
        Query(increase(names.DROPPED_TOKENS, ""), "tokens in dropped records"),
    )
    traces = (
        Query(rate(names.TRACES, "result"), "traces {{result}}"),
        Query(rate(names.SPANS, "result"), "spans {{result}}"),
    )
    panels = (
        Lines("Tokens, by kind", "short", (Query(rate(names.TOKENS, "kind", VERSION), "{{kind}}"),), width=THIRD),
        Lines(
            "Ledgers that can't be shown to hold",
            "short",
            (Query(increase(names.LEDGER_UNKNOWN, "model", VERSION), "{{model}}"),),
            width=THIRD,
        ),
        Lines("Records dropped, late, duplicate, unreadable", "short", lost_records, width=THIRD),
        Lines(
            "What the meter couldn't read or save",
            "short",
            (Query(increase(names.READ_FAILURES, "part"), "{{part}}"),),
            description="The meter tries again; until it succeeds, counts stand still.",
            width=THIRD,
        ),
        Lines(
            "Traces and spans",
            "short",
            traces,
            description="Lost: begun before the meter started, or too many at once.",
            width=THIRD,
        ),
        Lines(
            "What broke beside the meter",
            "short",
            (Query(increase(names.WATCH_FAILURES, "part"), "{{part}}"),),
            description=(
                "The console, the alerts of the embedded evaluator or the traces are incomplete; the counts are not."
            ),
            width=THIRD,
        ),
    )
    return Section("Tokens and telemetry", panels)
