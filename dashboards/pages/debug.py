"""The debug dashboard: where the time of a token goes, step by step, and what telemetry itself lost."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from calmops.foundation import metric_names as names
from calmops.objectives.promises.objective import EVENTS_SERIES
from dashboards.pages.log_and_trace_panels import KeptTraces, LogLines
from dashboards.pages.on_call import percentile
from dashboards.pages.panels import (
    HALF,
    RATE,
    THIRD,
    VARIABLES,
    Heat,
    Lines,
    Query,
    Rows,
    Section,
    Words,
    chosen,
    dashboard,
)
from dashboards.pages.reported_answers import ANSWERS

SHARD = chosen(*VARIABLES)
VERSION = chosen("model", "version", "variant")
READ = """A token's time is told twice: `engine` is stamped in the step, `gateway` when its bytes are handed to the HTTP
server; the difference is the framework's own share. Every token of a slow request: `calmops requests`, then its row of the
token strip in `/console`. Traces and logs bear the same `x-request-id`."""


def build() -> Dashboard:
    """`calmops-debug`."""
    gap = f"{names.INTER_TOKEN.name}_bucket{{{VERSION}}}"
    step = f"{names.STEP_DURATION.name}_bucket{{{SHARD}}}"
    bad = f'sum by (objective, version, variant) (rate({EVENTS_SERIES}{{{VERSION}, result="bad"}}[{RATE}]))'
    every = f"sum by (objective, version, variant) (rate({EVENTS_SERIES}{{{VERSION}}}[{RATE}]))"
    return dashboard("calmops-debug", "calmops: debug", "Where the time of a token goes.", (
        Section("Token by token", (
            Words("How to read this", READ), Heat("Time between tokens, at the gateway", Query(f'sum by (le) (rate({names.INTER_TOKEN.name}_bucket{{{VERSION}, at="gateway"}}[{RATE}]))', "{{le}}")),
            Lines("Time between tokens p99, on both clocks", "s", (Query(percentile(0.99, gap, "model, at"), "{{model}} {{at}}"),)),
            Lines("Time per output token", "s", tuple(Query(percentile(share, f"{names.PER_OUTPUT_TOKEN.name}_bucket{{{VERSION}}}"), f"p{share * 100:g} {{{{model}}}}") for share in (0.5, 0.99)), says="Of each request the mean, after its first token: OpenTelemetry's own measure. One long gap hides in it, unlike above."),
            Heat("Time to first token", Query(f"sum by (le) (rate({names.TTFT.name}_bucket{{{VERSION}}}[{RATE}]))", "{{le}}")),
            Lines("Where a request's time goes, p99", "s", (Query(percentile(0.99, f"{names.STAGE.name}_bucket{{{VERSION}}}", "model, stage"), "{{model}} {{stage}}"),), says="Queue: acceptance to its first step. Prefill: from there to its first token. Decode: from there to its end."),
            Heat("Whole requests", Query(f"sum by (le) (rate({names.DURATION.name}_bucket{{{VERSION}}}[{RATE}]))", "{{le}}")),
        )),
        Section("One request", (
            KeptTraces("Trace waterfall of a request", '{resource.service.name="calmops" && name="request"}', HALF, "All errors, migrations and broken ledgers, the slowest, and a share of the rest; a decode span holds the timing of every token."),
            LogLines("Request log", '{job="calmops"} | json | model=~"$model"', HALF, "One line a request that ended or was refused."),
        )),
        Section("Steps", (
            Lines("Duration of a step", "s", tuple(Query(percentile(share, step, "model, shard"), f"p{share * 100:g} {{{{model}}}}/{{{{shard}}}}") for share in (0.5, 0.99)), width=THIRD),
            Lines("Rows in a step", "short", (Query(f"sum by (model, shard) (rate({names.BATCH_ROWS.name}_sum{{{SHARD}}}[{RATE}])) / sum by (model, shard) (rate({names.BATCH_ROWS.name}_count{{{SHARD}}}[{RATE}]))", "{{model}}/{{shard}}"),), width=THIRD),
            Lines("Steps a second", "short", (Query(f"sum by (model, shard) (rate({names.STEPS.name}{{{SHARD}}}[{RATE}]))", "{{model}}/{{shard}}"),), width=THIRD),
        )),
        Section("Two versions", (
            Lines("Time between tokens p99, by version", "s", (Query(percentile(0.99, f'{names.INTER_TOKEN.name}_bucket{{{VERSION}, at="gateway"}}', "model, version, variant"), "{{model}} {{version}} {{variant}}"),)),
            Lines("Placements a request, by version", "short", (Query(f"sum by (model, version, variant) (rate({names.ATTEMPTS.name}{{{VERSION}}}[{RATE}])) / sum by (model, version, variant) (rate({names.REQUESTS.name}{{{VERSION}}}[{RATE}]))", "{{model}} {{version}} {{variant}}"),), says="1, but for migrations and requests refused at once."),
            Lines("Bad events, by version and variant", "percentunit", (Query(f"{bad} / ({every} > 0)", "{{objective}} {{version}} {{variant}}"),), says="Choose one model and two versions above."),
            Rows("Events, by version and variant", Query(f"sum by (objective, version, variant, result) (increase({EVENTS_SERIES}{{{VERSION}}}[$__range]))"), {"objective": "Objective", "version": "Version", "variant": "Variant", "result": "Result", "Value": "Events"}),
        )),
        ANSWERS,
        Section("Prompts", (
            Heat("Tokens of a prompt", Query(f"sum by (le) (rate({names.PROMPT_LENGTH.name}_bucket{{{VERSION}}}[{RATE}]))", "{{le}}")),
            Lines("Characters a token", "short", (Query(f"sum by (model) (rate({names.TOKENIZED_CHARS.name}{{{VERSION}}}[{RATE}])) / (sum by (model) (rate({names.TOKENIZED_TOKENS.name}{{{VERSION}}}[{RATE}])) > 0)", "{{model}}"),), says="A fall is text that the tokenizer wasn't made for, or another tokenizer."),
        )),
        Section("Tokens and telemetry", (
            Lines("Tokens, by kind", "short", (Query(f"sum by (kind) (rate({names.TOKENS.name}{{{VERSION}}}[{RATE}]))", "{{kind}}"),), width=THIRD),
            Lines("Ledgers that can't be shown to hold", "short", (Query(f"sum by (model) (increase({names.LEDGER_UNKNOWN.name}{{{VERSION}}}[{RATE}]))", "{{model}}"),), width=THIRD),
            Lines("Records dropped, late, twice, unreadable", "short", (
                Query(f"sum by (reason) (increase({names.DROPPED.name}[{RATE}]))", "dropped {{reason}}"), Query(names.MISSING.name, "late or lost"),
                Query(f"increase({names.DUPLICATES.name}[{RATE}])", "twice"), Query(f"increase({names.UNREADABLE.name}[{RATE}])", "unreadable"),
                Query(f"increase({names.GAPS.name}[{RATE}])", "lost"), Query(f"sum(increase({names.DROPPED_TOKENS.name}[{RATE}]))", "tokens in dropped records"),
            ), width=THIRD),
            Lines("What the meter couldn't read or save", "short", (Query(f"sum by (part) (increase({names.READ_FAILURES.name}[{RATE}]))", "{{part}}"),), width=THIRD, says="It tries again; while it lasts, counts stand still."),
            Lines("Traces and spans", "short", (
                Query(f"sum by (result) (rate({names.TRACES.name}[{RATE}]))", "traces {{result}}"), Query(f"sum by (result) (rate({names.SPANS.name}[{RATE}]))", "spans {{result}}"),
            ), width=THIRD, says="Lost: begun before the meter did, or too many at once."),
            Lines("What broke beside the meter", "short", (Query(f"sum by (part) (increase({names.WATCH_FAILURES.name}[{RATE}]))", "{{part}}"),), width=THIRD, says="Console, alerts of the embedded evaluator or traces are incomplete; the counts are not."),
        )),
    ))  # fmt: skip
