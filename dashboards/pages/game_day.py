"""Builds the game-day dashboard: whether streams survive what is broken on purpose, and whether the alerts see it.

Knows metrics and where each is shown, not how a panel looks.
"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from calmops.foundation import metric_names as names
from calmops.objectives.rules.series import burn_series
from dashboards.pages.on_call import gap_percentile
from dashboards.pages.panels import Figure, Lines, Query, Rows, Section, dashboard
from dashboards.pages.promql import RANGE, SHARD, VERSION, increase, rate, total

FAULT_EVENTS = 'name=~"migrations|stalled_gangs|exact_lost|fenced_frames"'


def build() -> Dashboard:
    """Build `calmops-game-day`."""
    description = "What is broken on purpose, and what users noticed of it."
    return dashboard("calmops-game-day", "calmops: game day", description, (_noticed(), _happened(), _alerts()))


def _noticed() -> Section:
    lost = increase(names.REQUESTS, "", VERSION, 'outcome=~"failed|lost_gateway"', span=RANGE)
    recomputed = increase(names.TOKENS, "", VERSION, 'kind="recomputed"', span=RANGE)
    unknown = increase(names.LEDGER_UNKNOWN, "", VERSION, span=RANGE)
    panels = (
        Figure(
            "Requests lost",
            "short",
            Query(f"{lost} or vector(0)"),
            1,
            description="Failed, or lost with a gateway, in the time shown.",
        ),
        Figure("Longest waits, p99", "s", Query(f"max({gap_percentile(0.99)})"), 0.3),
        Figure("Tokens computed again", "short", Query(recomputed)),
        Figure("Ledgers unknown", "short", Query(f"{unknown} or vector(0)"), 1),
    )
    return Section("What users noticed", panels)


def _happened() -> Section:
    events = increase(names.EVENT, "name, reason", VERSION, FAULT_EVENTS)
    generated = rate(names.TOKENS, "model", VERSION, 'kind="generated"')
    panels = (
        Lines("Migrations and lost gangs", "short", (Query(events, "{{name}} {{reason}}"),)),
        Lines("Time between tokens p99", "s", (Query(gap_percentile(0.99), "{{model}}"),), bound=0.3),
        Lines(
            "Running sequences",
            "short",
            (Query(total(names.RUNNING, "model, shard", SHARD), "{{model}}/{{shard}}"),),
            description="The line of a killed replica ends within a minute; its streams appear on other replicas.",
            stacked=True,
        ),
        Lines("Throughput", "short", (Query(generated, "{{model}}"),)),
    )
    return Section("What happened", panels)


def _alerts() -> Section:
    panels = (
        Lines(
            "Burn over five minutes",
            "short",
            (Query(f"{burn_series('model', 300)}{{{VERSION}}}", "{{objective}} {{model}}"),),
            bound=3,
        ),
        Rows(
            "Alerts",
            Query(f"ALERTS{{{VERSION}}}"),
            {
                "alertname": "Alert",
                "alertstate": "State",
                "severity": "Severity",
                "model": "Model",
                "shard": "Shard",
            },
        ),
    )
    return Section("What the alerts saw", panels)
