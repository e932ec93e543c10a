"""The on-call dashboard: what burns, how slow, how full, and which replica."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from calmops.foundation import metric_names as names
from calmops.objectives.promises.windows import seconds
from calmops.objectives.rules.series import burn_series, left_series
from dashboards.pages import outcome_matchers
from dashboards.pages.log_and_trace_panels import LogLines
from dashboards.pages.panels import (
    RATE,
    THIRD,
    VARIABLES,
    WHOLE,
    Figure,
    Lines,
    Query,
    Rows,
    Section,
    chosen,
    dashboard,
)

SHARD = chosen(*VARIABLES)
VERSION = chosen("model", "version", "variant")
GAP = f'{names.INTER_TOKEN.name}_bucket{{{VERSION}, at="gateway"}}'


def percentile(share: float, buckets: str, by: str = "model") -> str:
    """A percentile of a histogram over the panel's rate interval."""
    return f"histogram_quantile({share}, sum by (le, {by}) (rate({buckets}[{RATE}])))"


def build() -> Dashboard:
    """`calmops-on-call`."""
    ends = f"sum by (outcome) (rate({names.REQUESTS.name}{{{VERSION}}}[{RATE}]))"
    badly, counted = (
        f"sum(rate({names.REQUESTS.name}{{{VERSION}, {outcome}}}[{RATE}]))"
        for outcome in (outcome_matchers.BADLY, outcome_matchers.COUNTED)
    )
    return dashboard("calmops-on-call", "calmops: on call", "What burns, how slow, how full, and which replica.", (
        Section("Now", (
            Figure("Token latency p99", "s", Query(f"max({percentile(0.99, GAP)})"), 0.3),
            Figure("Token latency p50", "s", Query(f"max({percentile(0.5, GAP)})"), 0.05),
            Figure("First token p99", "s", Query(f"max({percentile(0.99, f'{names.TTFT.name}_bucket{{{VERSION}}}')})"), 2.5),
            Figure("Failed", "percentunit", Query(f"{badly} / ({counted} > 0)"), 0.01, says="Of those that count: not what a client cancelled or wrote wrongly."),
            Figure("Tokens a second", "short", Query(f'sum(rate({names.TOKENS.name}{{{VERSION}, kind="generated"}}[{RATE}]))')),
            Figure("Waiting", "short", Query(f"sum({names.WAITING.name}{{{SHARD}}})")),
        )),
        Section("What burns", (
            Rows("Alerts", Query(f'ALERTS{{alertstate="firing", {VERSION}}}'), {"alertname": "Alert", "severity": "Severity", "model": "Model", "version": "Version", "shard": "Shard", "team": "Team"}),
            Lines("Burn over an hour", "short", (Query(f"{burn_series('model', 3600)}{{{VERSION}}}", "{{objective}} {{model}} {{version}}"),), bound=3, says="1 uses up a budget exactly within 30 days; pages come from 3, 6, 14.4."),
            Lines("Burn over five minutes", "short", (Query(f"{burn_series('model', 300)}{{{VERSION}}}", "{{objective}} {{model}} {{version}}"),), bound=3),
            Lines("Budget left", "percentunit", (Query(f"{left_series(seconds('30d'))}{{{VERSION}}}", "{{objective}} {{model}} {{version}}"),)),
        )),
        Section("Latency and errors", (
            Lines("Token latency", "s", tuple(Query(percentile(share, GAP), f"p{share * 100:g} {{{{model}}}}") for share in (0.5, 0.95, 0.99)), bound=0.3),
            Lines("How requests end", "reqps", (Query(ends, "{{outcome}}"),), stacked=True),
            Lines("What gateways counted", "short", (Query(f"sum by (name, reason) (rate({names.EVENT.name}{{{VERSION}}}[{RATE}]))", "{{name}} {{reason}}"),), says="Migrations, lost gangs, clients that were cut, tokenization errors."),
            Lines("Throughput", "short", (Query(f'sum by (model) (rate({names.TOKENS.name}{{{VERSION}, kind="generated"}}[{RATE}]))', "{{model}}"),)),
        )),
        Section("Requests that stand out", (
            LogLines("Recent anomalous prompts", '{job="calmops"} | json | level="warning" | model=~"$model" | line_format "{{.outcome}}  {{.model}}  request {{.request_id}}  prompt {{.prompt_hash}}  trace {{.trace_id}}  {{.detail}}"', WHOLE, "What failed, ran out of time or was lost, by request id and keyed hash: `calmops replay` runs one again."),
        )),
        Section("Replicas", (
            Lines("Running and waiting", "short", (Query(f"sum by (model, shard) ({names.RUNNING.name}{{{SHARD}}})", "running {{model}}/{{shard}}"), Query(f"sum by (model, shard) ({names.WAITING.name}{{{SHARD}}})", "waiting {{model}}/{{shard}}")), width=THIRD),
            Lines("KV cache", "percentunit", (Query(f"sum by (model, shard) ({names.KV_USED.name}{{{SHARD}}}) / sum by (model, shard) ({names.KV_TOTAL.name}{{{SHARD}}})", "{{model}}/{{shard}}"),), width=THIRD, bound=0.95),
            Lines("Preemptions", "short", (Query(f"sum by (model, shard) (rate({names.PREEMPTIONS.name}{{{SHARD}}}[{RATE}]))", "{{model}}/{{shard}}"),), width=THIRD),
            Lines("Gangs and nodes", "short", (Query(f'sum by (model, state) ({names.GANGS.name}{{{chosen("model")}}})', "{{model}} {{state}}"), Query(names.NODES.name, "nodes {{state}}")), width=THIRD, says="A gang that falls silent leaves within five seconds."),
            Lines("Killed for want of memory", "short", (Query(f"sum by (node) (increase({names.OOM_KILLS.name}[{RATE}]))", "{{node}}"),), width=THIRD, says="Processes that the nodes' kernels killed."),
            Lines("GPU memory and use", "percentunit", (Query(f"{names.GPU_USED.name} / {names.GPU_TOTAL.name}", "memory {{node}}/{{gpu}}"), Query(names.GPU_BUSY.name, "busy {{node}}/{{gpu}}")), width=THIRD, says="Empty where there is no GPU."),
        )),
    ))  # fmt: skip
