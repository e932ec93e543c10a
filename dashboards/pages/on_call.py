"""Builds the on-call dashboard: what burns, how slow and how full the platform is, and which replica is to blame.

Knows metrics and where each is shown, not how a panel looks.
"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from calmops.foundation import metric_names as names
from calmops.objectives.promises.windows import seconds
from calmops.objectives.rules.series import burn_series, left_series
from dashboards.pages.log_and_trace_panels import LogLines
from dashboards.pages.panels import THIRD, WHOLE, Figure, Lines, Query, Rows, Section, dashboard
from dashboards.pages.promql import BADLY, COUNTED, MODEL, SHARD, VERSION, increase, percentile, rate, series, total

AT_GATEWAY = 'at="gateway"'
SHARD_LEGEND = "{{model}}/{{shard}}"
OBJECTIVE_LEGEND = "{{objective}} {{model}} {{version}}"
ANOMALOUS = (
    '{job="calmops"} | json | level="warning" | model=~"$model" | line_format "{{.outcome}}  {{.model}}  '
    'request {{.request_id}}  prompt {{.prompt_hash}}  trace {{.trace_id}}  {{.detail}}"'
)


def build() -> Dashboard:
    """Build `calmops-on-call`."""
    sections = (_now(), _burning(), _latency_and_errors(), _anomalous_requests(), _replicas())
    description = "What burns, how slow, how full, and which replica."
    return dashboard("calmops-on-call", "calmops: on call", description, sections)


def gap_percentile(share: float) -> str:
    """Compute a percentile of the time between tokens at the gateway, per model."""
    return percentile(share, names.INTER_TOKEN, "model", VERSION, AT_GATEWAY)


def _now() -> Section:
    first_token = percentile(0.99, names.TTFT, "model", VERSION)
    badly, counted = (rate(names.REQUESTS, "", VERSION, outcome) for outcome in (BADLY, COUNTED))
    panels = (
        Figure("Token latency p99", "s", Query(f"max({gap_percentile(0.99)})"), 0.3),
        Figure("Token latency p50", "s", Query(f"max({gap_percentile(0.5)})"), 0.05),
        Figure("First token p99", "s", Query(f"max({first_token})"), 2.5),
        Figure(
            "Failed",
            "percentunit",
            Query(f"{badly} / ({counted} > 0)"),
            0.01,
            description="Of the requests that count: not of those that a client cancelled or wrote wrongly.",
        ),
        Figure("Tokens per second", "short", Query(rate(names.TOKENS, "", VERSION, 'kind="generated"'))),
        Figure("Waiting", "short", Query(f"sum({series(names.WAITING, SHARD)})")),
    )
    return Section("Now", panels)


def _burning() -> Section:
    hour, five_minutes = (f"{burn_series('model', span_s)}{{{VERSION}}}" for span_s in (3600, 300))
    left = f"{left_series(seconds('30d'))}{{{VERSION}}}"
    panels = (
        Rows(
            "Alerts",
            Query(f'ALERTS{{alertstate="firing", {VERSION}}}'),
            {
                "alertname": "Alert",
                "severity": "Severity",
                "model": "Model",
                "version": "Version",
                "shard": "Shard",
                "team": "Team",
            },
        ),
        Lines(
            "Burn over an hour",
            "short",
            (Query(hour, OBJECTIVE_LEGEND),),
            bound=3,
            description="1 uses up a budget exactly within 30 days; pages begin at 3, 6 and 14.4.",
        ),
        Lines("Burn over five minutes", "short", (Query(five_minutes, OBJECTIVE_LEGEND),), bound=3),
        Lines("Budget left", "percentunit", (Query(left, OBJECTIVE_LEGEND),)),
    )
    return Section("What burns", panels)


def _latency_and_errors() -> Section:
    gaps = tuple(Query(gap_percentile(share), f"p{share * 100:g} {{{{model}}}}") for share in (0.5, 0.95, 0.99))
    generated = rate(names.TOKENS, "model", VERSION, 'kind="generated"')
    panels = (
        Lines("Token latency", "s", gaps, bound=0.3),
        Lines(
            "How requests end",
            "reqps",
            (Query(rate(names.REQUESTS, "outcome", VERSION), "{{outcome}}"),),
            stacked=True,
        ),
        Lines(
            "What gateways counted",
            "short",
            (Query(rate(names.EVENT, "name, reason", VERSION), "{{name}} {{reason}}"),),
            description="Migrations, lost gangs, slow clients that were cut off, tokenization errors.",
        ),
        Lines("Throughput", "short", (Query(generated, "{{model}}"),)),
    )
    return Section("Latency and errors", panels)


def _anomalous_requests() -> Section:
    panel = LogLines(
        "Recent anomalous prompts",
        ANOMALOUS,
        WHOLE,
        description=(
            "Requests that failed, ran out of time or were lost, by request id and keyed hash: "
            "`calmops replay` runs one of them again."
        ),
    )
    return Section("Requests that stand out", (panel,))


def _replicas() -> Section:
    running, waiting, used, blocks = (
        total(metric, "model, shard", SHARD) for metric in (names.RUNNING, names.WAITING, names.KV_USED, names.KV_TOTAL)
    )
    preemptions = rate(names.PREEMPTIONS, "model, shard", SHARD)
    gangs_and_nodes = (
        Query(total(names.GANGS, "model, state", MODEL), "{{model}} {{state}}"),
        Query(names.NODES.name, "nodes {{state}}"),
    )
    gpus = (
        Query(f"{names.GPU_USED.name} / {names.GPU_TOTAL.name}", "memory {{node}}/{{gpu}}"),
        Query(names.GPU_BUSY.name, "busy {{node}}/{{gpu}}"),
    )
    panels = (
        Lines(
            "Running and waiting",
            "short",
            (Query(running, f"running {SHARD_LEGEND}"), Query(waiting, f"waiting {SHARD_LEGEND}")),
            width=THIRD,
        ),
        Lines("KV cache", "percentunit", (Query(f"{used} / {blocks}", SHARD_LEGEND),), width=THIRD, bound=0.95),
        Lines("Preemptions", "short", (Query(preemptions, SHARD_LEGEND),), width=THIRD),
        Lines(
            "Gangs and nodes",
            "short",
            gangs_and_nodes,
            description="A gang that falls silent leaves within five seconds.",
            width=THIRD,
        ),
        Lines(
            "Out-of-memory kills",
            "short",
            (Query(increase(names.OOM_KILLS, "node"), "{{node}}"),),
            description="Processes that the nodes' kernels killed for lack of memory.",
            width=THIRD,
        ),
        Lines("GPU memory and use", "percentunit", gpus, description="Empty if there is no GPU.", width=THIRD),
    )
    return Section("Replicas", panels)
