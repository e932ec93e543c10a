"""Builds panels that don't query Prometheus: the request log from Loki, and kept traces from Tempo.

Each source is a variable of its own. platform/deploy/logs/README.md says what our log holds; a shipper should label it
``job="calmops"``. A Grafana without such a source shows an empty panel that says what it needs. Knows no metric.
"""

from typing import NamedTuple

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import logs, loki, table, tempo
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.tempo import SearchTableType, TempoQueryType

LOKI, TEMPO = (
    common.DataSourceRef(type_val=kind, uid=f"${{{name}}}") for kind, name in (("loki", "logs"), ("tempo", "traces"))
)
NEEDS_LOKI = "Needs a Loki with calmops' request log (platform/deploy/logs) under the label job=calmops."
NEEDS_TEMPO = "Needs a Tempo that tracing.endpoint leads to. A click on a trace opens its waterfall."
MAX_LINES, MAX_TRACES = 200, 20


class LogLines(NamedTuple):
    """Describes a panel of request log lines. No line holds a prompt, only its keyed hash."""

    title: str
    query: str  # LogQL
    width: int
    description: str = ""


class KeptTraces(NamedTuple):
    """Describes a panel of traces, newest first."""

    title: str
    query: str  # TraceQL
    width: int
    description: str = ""


def sources() -> list[build.DatasourceVariable]:
    """Return the variables that name the two data sources."""
    return [
        build.DatasourceVariable("logs").label("Loki").type("loki"),
        build.DatasourceVariable("traces").label("Tempo").type("tempo"),
    ]


def lines_panel(panel: LogLines) -> logs.Panel:
    """Build a panel of log lines, newest first; a click on one shows its fields."""
    query = loki.Dataquery().expr(panel.query).max_lines(MAX_LINES).datasource(LOKI).ref_id("A")
    return (
        logs.Panel()
        .title(panel.title)
        .description(f"{panel.description} {NEEDS_LOKI}".strip())
        .datasource(LOKI)
        .span(panel.width)
        .height(8)
        .show_time(True)
        .enable_log_details(True)
        .wrap_log_message(True)
        .sort_order(common.LogsSortOrder.DESCENDING)
        .with_target(query)
    )


def traces_panel(panel: KeptTraces) -> table.Panel:
    """Build a table with one row per trace."""
    query = (
        tempo.Dataquery()
        .query(panel.query)
        .query_type(str(TempoQueryType.TRACEQL))
        .table_type(SearchTableType.TRACES)
        .limit(MAX_TRACES)
        .datasource(TEMPO)
        .ref_id("A")
    )
    return (
        table.Panel()
        .title(panel.title)
        .description(f"{panel.description} {NEEDS_TEMPO}".strip())
        .datasource(TEMPO)
        .span(panel.width)
        .height(8)
        .with_target(query)
    )
