"""The executive dashboard: is what was promised kept, for how many requests, and at what cost."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from calmops.foundation import metric_names as names
from calmops.objectives.promises.objective import EVENTS_SERIES, GAUGES
from calmops.objectives.promises.windows import seconds
from calmops.objectives.rules.series import left_series
from dashboards.pages import outcome_matchers
from dashboards.pages.panels import HALF, RATE, Figure, Lines, Query, Rows, Section, chosen, dashboard
from dashboards.pages.reported_answers import ANSWERS

VERSION = chosen("model", "version", "variant")
LEFT = f"{left_series(seconds('30d'))}{{{VERSION}}}"
GOOD, EVERY = (f'{EVENTS_SERIES}{{{VERSION}, result="good"}}', f"{EVENTS_SERIES}{{{VERSION}}}")
KEPT = f"sum by (objective) (increase({GOOD}[$__range])) / sum by (objective) (increase({EVERY}[$__range]) > 0)"
WELL, COUNTED = (
    f"{names.REQUESTS.name}{{{VERSION}, {outcome}}}" for outcome in (outcome_matchers.WELL, outcome_matchers.COUNTED)
)


def build() -> Dashboard:
    """`calmops-executive`."""
    return dashboard("calmops-executive", "calmops: executive", "What was promised, to how many, and at what cost.", (
        Section("At a glance", (
            Figure("Requests a second", "reqps", Query(f"sum(rate({names.ACCEPTED.name}{{{VERSION}}}[{RATE}]))")),
            Figure("Requests that ended well", "percentunit", Query(f"sum(increase({WELL}[$__range])) / (sum(increase({COUNTED}[$__range])) > 0)"), 0.99, falling=True, says="Those that a client cancelled or wrote wrongly don't count."),
            Figure("Tokens delivered a second", "short", Query(f'sum(rate({names.TOKENS.name}{{{VERSION}, kind="delivered"}}[{RATE}]))')),
            Figure("Least budget left", "percentunit", Query(f"min({LEFT})"), 0.5, falling=True, says="Of any objective of any model: below 0 a promise is broken for this month."),
            Figure("Cost of 1,000 tokens", "short", Query(f"avg({GAUGES[0]}{{{VERSION}}})"), says="In the price file's currency."),
            Figure("Alerts that page", "short", Query(f'count(ALERTS{{alertstate="firing", severity="page", {VERSION}}}) or vector(0)'), 1),
        )),
        Section("Promises", (
            Rows("Kept, in the time shown", Query(KEPT), {"objective": "Objective", "Value": "Good"}, unit="percentunit"),
            Lines("Budget left", "percentunit", (Query(f"min by (objective, model, version) ({LEFT})", "{{objective}} {{model}} {{version}}"),), says="Of 30 days. A steep fall is an incident, a steady one a habit."),
        )),
        Section("Cost", (
            Lines("Money an hour, by how it is paid for", "short", (Query(f'sum by (model, pricing) ({names.SPENDING.name}{{{chosen("model")}}})', "{{model}} {{pricing}}"),), stacked=True, says="Owned and reserved replicas cost the same idle or busy."),
            Lines("Cost of 1,000 tokens, over time", "short", (Query(f"avg by (model, environment) ({GAUGES[0]}{{{VERSION}}})", "{{model}} {{environment}}"),), says="Falls as traffic rises: what runs is paid for anyway."),
        )),
        ANSWERS,
        Section("Use", (
            Lines("Requests a second, by model", "reqps", (Query(f"sum by (model) (rate({names.ACCEPTED.name}{{{VERSION}}}[{RATE}]))", "{{model}}"),), stacked=True),
            Lines("Tokens a second, by kind", "short", (Query(f"sum by (kind) (rate({names.TOKENS.name}{{{VERSION}}}[{RATE}]))", "{{kind}}"),), width=HALF, says="Discarded and recomputed tokens were paid for and reached nobody."),
        )),
    ))  # fmt: skip
