"""The game-day dashboard: whether streams live through what is broken on purpose, and whether the alerts see it."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from calmops.foundation import metric_names as names
from calmops.objectives.rules.series import burn_series
from dashboards.pages.on_call import GAP, percentile
from dashboards.pages.panels import RATE, VARIABLES, Figure, Lines, Query, Rows, Section, chosen, dashboard

SHARD = chosen(*VARIABLES)
VERSION = chosen("model", "version", "variant")


def build() -> Dashboard:
    """`calmops-game-day`."""
    events = f'sum by (name, reason) (increase({names.EVENT.name}{{{VERSION}, name=~"migrations|stalled_gangs|exact_lost|fenced_frames"}}[{RATE}]))'
    lost = f'sum(increase({names.REQUESTS.name}{{{VERSION}, outcome=~"failed|lost_gateway"}}[$__range]))'
    return dashboard("calmops-game-day", "calmops: game day", "What is broken on purpose, and what users noticed of it.", (
        Section("What users noticed", (
            Figure("Requests lost", "short", Query(f"{lost} or vector(0)"), 1, says="Failed or lost with a gateway, in the time shown."),
            Figure("Longest waits, p99", "s", Query(f"max({percentile(0.99, GAP)})"), 0.3),
            Figure("Tokens computed again", "short", Query(f'sum(increase({names.TOKENS.name}{{{VERSION}, kind="recomputed"}}[$__range]))')),
            Figure("Ledgers unknown", "short", Query(f"sum(increase({names.LEDGER_UNKNOWN.name}{{{VERSION}}}[$__range])) or vector(0)"), 1),
        )),
        Section("What happened", (
            Lines("Migrations and lost gangs", "short", (Query(events, "{{name}} {{reason}}"),)),
            Lines("Time between tokens p99", "s", (Query(percentile(0.99, GAP), "{{model}}"),), bound=0.3),
            Lines("Running sequences", "short", (Query(f"sum by (model, shard) ({names.RUNNING.name}{{{SHARD}}})", "{{model}}/{{shard}}"),), stacked=True, says="The line of a replica that is killed ends within a minute; its streams turn up elsewhere."),
            Lines("Throughput", "short", (Query(f'sum by (model) (rate({names.TOKENS.name}{{{VERSION}, kind="generated"}}[{RATE}]))', "{{model}}"),)),
        )),
        Section("What the alerts saw", (
            Lines("Burn over five minutes", "short", (Query(f"{burn_series('model', 300)}{{{VERSION}}}", "{{objective}} {{model}}"),), bound=3),
            Rows("Alerts", Query(f"ALERTS{{{VERSION}}}"), {"alertname": "Alert", "alertstate": "State", "severity": "Severity", "model": "Model", "shard": "Shard"}),
        )),
    ))  # fmt: skip
