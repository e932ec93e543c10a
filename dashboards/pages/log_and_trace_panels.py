"""Panels that don't ask Prometheus: requests in the log, from Loki, and kept traces, from Tempo. Each source is a variable of its own.

What our log holds is in platform/deploy/logs/README.md, whatever ships it should give it the label ``job="calmops"``. A Grafana
without such a source shows an empty panel that says what it would need.
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
MOST_LINES, MOST_TRACES = 200, 20


class LogLines(NamedTuple):
    """Lines of the request log; no prompt is in any, only its keyed hash."""

    title: str
    query: str  # LogQL
    width: int
    says: str = ""


class KeptTraces(NamedTuple):
    """Traces, newest first."""

    title: str
    query: str  # TraceQL
    width: int
    says: str = ""


def sources() -> list[build.DatasourceVariable]:
    """The variables that name them."""
    return [
        build.DatasourceVariable("logs").label("Loki").type("loki"), build.DatasourceVariable("traces").label("Tempo").type("tempo")
    ]  # fmt: skip


def lines_panel(panel: LogLines) -> logs.Panel:
    """Newest first, each with its fields behind a click."""
    query = loki.Dataquery().expr(panel.query).max_lines(MOST_LINES).datasource(LOKI).ref_id("A")
    made = (
        logs.Panel()
        .title(panel.title)
        .description(f"{panel.says} {NEEDS_LOKI}".strip())
        .datasource(LOKI)
        .span(panel.width)
        .height(8)
    )
    return (
        made.show_time(True)
        .enable_log_details(True)
        .wrap_log_message(True)
        .sort_order(common.LogsSortOrder.DESCENDING)
        .with_target(query)
    )


def traces_panel(panel: KeptTraces) -> table.Panel:
    """A row a trace."""
    query = (
        tempo.Dataquery().query(panel.query).query_type(str(TempoQueryType.TRACEQL)).table_type(SearchTableType.TRACES).limit(MOST_TRACES)
        .datasource(TEMPO).ref_id("A")
    )  # fmt: skip
    made = table.Panel().title(panel.title).description(f"{panel.says} {NEEDS_TEMPO}".strip()).datasource(TEMPO)
    return made.span(panel.width).height(8).with_target(query)
