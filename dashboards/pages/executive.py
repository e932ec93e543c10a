"""Builds the executive dashboard: whether what was promised is kept, for how many requests, and at what cost.

Knows metrics and where each is shown, not how a panel looks.
"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from calmops.foundation import metric_names as names
from calmops.objectives.promises.windows import seconds
from calmops.objectives.rules.series import left_series
from dashboards.pages.panels import Figure, Lines, Query, Rows, Section, dashboard
from dashboards.pages.promql import COUNTED, MODEL, RANGE, VERSION, WELL, increase, rate, series, total

BUDGET_LEFT = f"{left_series(seconds('30d'))}{{{VERSION}}}"


def build() -> Dashboard:
    """Build `calmops-executive`."""
    sections = (_at_a_glance(), _promises(), _cost(), reported_answers(), _use())
    description = "What was promised, to how many, and at what cost."
    return dashboard("calmops-executive", "calmops: executive", description, sections)


def reported_answers() -> Section:
    """Build the section on what scanners, judges and drift jobs reported, which the debug dashboard shows too."""
    bad = rate(names.REPORTS, "name, model", VERSION, 'result="bad"')
    checked = rate(names.REPORTS, "name, model", VERSION)
    drift = series(names.REPORTED_VALUE, VERSION)
    panels = (
        Lines(
            "Bad answers, of those checked",
            "percentunit",
            (Query(f"{bad} / ({checked} > 0)", "{{name}} {{model}}"),),
            description=(
                "Hallucinations, personal data, and what else scanners and judges report; empty if nobody reports."
            ),
        ),
        Lines(
            "Drift",
            "short",
            (Query(drift, "{{name}} {{model}} {{version}}"),),
            description="Distance from the baseline, in the check's own unit.",
        ),
    )
    return Section("What others reported about the answers", panels)


def _at_a_glance() -> Section:
    well, counted = (increase(names.REQUESTS, "", VERSION, outcome, span=RANGE) for outcome in (WELL, COUNTED))
    paging = f'count(ALERTS{{alertstate="firing", severity="page", {VERSION}}}) or vector(0)'
    panels = (
        Figure("Requests per second", "reqps", Query(rate(names.ACCEPTED, "", VERSION))),
        Figure(
            "Requests that ended well",
            "percentunit",
            Query(f"{well} / ({counted} > 0)"),
            0.99,
            falling=True,
            description="Requests that a client cancelled or wrote wrongly don't count.",
        ),
        Figure("Tokens delivered per second", "short", Query(rate(names.TOKENS, "", VERSION, 'kind="delivered"'))),
        Figure(
            "Least budget left",
            "percentunit",
            Query(f"min({BUDGET_LEFT})"),
            0.5,
            falling=True,
            description="The least of any objective of any model: under 0 a promise is broken for this month.",
        ),
        Figure(
            "Cost of 1,000 tokens",
            "short",
            Query(f"avg({series(names.COST, VERSION)})"),
            description="In the price file's currency.",
        ),
        Figure("Alerts that page", "short", Query(paging), 1),
    )
    return Section("At a glance", panels)


def _promises() -> Section:
    good = increase(names.OBJECTIVE_EVENTS, "objective", VERSION, 'result="good"', span=RANGE)
    events = f"sum by (objective) (increase({series(names.OBJECTIVE_EVENTS, VERSION)}[{RANGE}]) > 0)"
    left = f"min by (objective, model, version) ({BUDGET_LEFT})"
    panels = (
        Rows(
            "Promises kept, in the time shown",
            Query(f"{good} / {events}"),
            {"objective": "Objective", "Value": "Good"},
            unit="percentunit",
        ),
        Lines(
            "Budget left",
            "percentunit",
            (Query(left, "{{objective}} {{model}} {{version}}"),),
            description="Of 30 days. A steep fall is an incident, a steady one a habit.",
        ),
    )
    return Section("Promises", panels)


def _cost() -> Section:
    cost = f"avg by (model, environment) ({series(names.COST, VERSION)})"
    panels = (
        Lines(
            "Money per hour, by how it is paid for",
            "short",
            (Query(total(names.SPENDING, "model, pricing", MODEL), "{{model}} {{pricing}}"),),
            description="Owned and reserved replicas cost the same whether idle or busy.",
            stacked=True,
        ),
        Lines(
            "Cost of 1,000 tokens, over time",
            "short",
            (Query(cost, "{{model}} {{environment}}"),),
            description="It falls as traffic rises, since running replicas are paid for anyway.",
        ),
    )
    return Section("Cost", panels)


def _use() -> Section:
    panels = (
        Lines(
            "Requests per second, by model",
            "reqps",
            (Query(rate(names.ACCEPTED, "model", VERSION), "{{model}}"),),
            stacked=True,
        ),
        Lines(
            "Tokens per second, by kind",
            "short",
            (Query(rate(names.TOKENS, "kind", VERSION), "{{kind}}"),),
            description="Discarded and recomputed tokens were paid for and reached nobody.",
        ),
    )
    return Section("Use", panels)
