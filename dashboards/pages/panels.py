"""Decides how every panel of ours looks: units, bounds, legends, variables and links.

Knows Grafana's builders, and of the metrics only the one whose labels the variables list.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from grafana_foundation_sdk.builders import common as build_common
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import heatmap, logs, prometheus, stat, table, text, timeseries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from calmops.objectives.promises.objective import EVENTS_SERIES
from dashboards.ownership import MARKS, TAG
from dashboards.pages.log_and_trace_panels import KeptTraces, LogLines, lines_panel, sources, traces_panel
from dashboards.pages.promql import VARIABLES, matchers

SOURCE = common.DataSourceRef(type_val="prometheus", uid="${source}")
WHOLE, HALF, THIRD, SIXTH = 24, 12, 8, 4
DEBUG_URL = "/d/calmops-debug?${__url_time_range}"
RED, GREEN = "red", "green"


class Query(NamedTuple):
    """Holds one expression, and the legend that names its series."""

    expression: str
    legend: str = ""


class Figure(NamedTuple):
    """Describes a panel with one number. It is red from ``bad_from`` on or, if ``falling``, under it."""

    title: str
    unit: str
    query: Query
    bad_from: float | None = None
    falling: bool = False
    description: str = ""


class Lines(NamedTuple):
    """Describes a panel with lines over time, and a red line at ``bound``, which they shouldn't pass."""

    title: str
    unit: str
    queries: Sequence[Query]
    bound: float | None = None
    description: str = ""
    width: int = HALF
    stacked: bool = False


class Rows(NamedTuple):
    """Describes a table of current values, with one row per series."""

    title: str
    query: Query
    columns: dict[str, str]  # label to heading; "Value" is the number
    unit: str = "short"
    width: int = HALF
    description: str = ""


class Heat(NamedTuple):
    """Describes a heatmap of a histogram's buckets over time."""

    title: str
    query: Query  # its legend is {{le}}
    description: str = ""
    width: int = HALF


class Words(NamedTuple):
    """Describes a panel of text."""

    title: str
    markdown: str
    width: int = WHOLE


Panel = Figure | Lines | Rows | Heat | Words | LogLines | KeptTraces


class Section(NamedTuple):
    """Holds a heading and the panels under it."""

    title: str
    panels: Sequence[Panel]


def dashboard(uid: str, title: str, description: str, sections: Iterable[Section]) -> build.Dashboard:
    """Build a dashboard with our variables, links to our other dashboards, and marks of deploys and game days."""
    sections = list(sections)
    board = (
        build.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG, "generated"])
        .readonly()
        .time("now-1h", "now")
        .timezone("browser")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(build.DatasourceVariable("source").label("Prometheus").type("prometheus"))
        .link(
            build.DashboardLink("calmops")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
        )
    )
    for name in VARIABLES:
        board.with_variable(_variable(name))
    if any(isinstance(panel, LogLines | KeptTraces) for section in sections for panel in section.panels):
        for source in sources():
            board.with_variable(source)
    for name, colour in MARKS.items():
        board.annotation(_marks(name, colour))
    for section in sections:
        board.with_row(build.Row(section.title))
        for panel in section.panels:
            board.with_panel(_panel(panel))
    return board


def _variable(name: str) -> build.QueryVariable:
    """Build a variable whose values are narrowed by the variables before it."""
    before = VARIABLES[: VARIABLES.index(name)]
    series = f"{EVENTS_SERIES}{{{matchers(*before)}}}" if before else EVENTS_SERIES
    every = models.VariableOption(selected=True, text="All", value="$__all")
    return (
        build.QueryVariable(name)
        .label(name.capitalize())
        .datasource(SOURCE)
        .query(f"label_values({series}, {name})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(every)
    )


def _marks(tag: str, colour: str) -> build.AnnotationQuery:
    """Build a query for annotations with our tag and this one: `calmops` writes them at deploys and on game days."""
    grafana = common.DataSourceRef(type_val="grafana", uid="-- Grafana --")
    target = build.AnnotationTarget().limit(100).match_any(False).tags([TAG, tag]).type("tags")
    query = build.AnnotationQuery().name(tag).datasource(grafana).enable(True).icon_color(colour)
    return query.target(target)  # type: ignore[arg-type]


def _panel(panel: Panel) -> "timeseries.Panel | stat.Panel | table.Panel | heatmap.Panel | text.Panel | logs.Panel":
    if isinstance(panel, Lines):
        return _lines(panel)
    if isinstance(panel, Figure):
        return _figure(panel)
    if isinstance(panel, Rows):
        return _rows(panel)
    if isinstance(panel, Heat):
        return _heat(panel)
    if isinstance(panel, LogLines):
        return lines_panel(panel)
    if isinstance(panel, KeptTraces):
        return traces_panel(panel)
    return text.Panel().title(panel.title).content(panel.markdown).span(panel.width).height(4)


def _query(query: Query, number: int, *, instant: bool = False) -> prometheus.Dataquery:
    target = (
        prometheus.Dataquery()
        .expr(query.expression)
        .legend_format(query.legend or "__auto")
        .ref_id(chr(ord("A") + number))
    )
    # With exemplars, a point of a histogram leads to a trace.
    if "_bucket{" in query.expression:
        target.exemplar(True)
    return target.instant() if instant else target.range()


def _steps(bad_from: float | None, *, falling: bool = False) -> build.ThresholdsConfig:
    """Build thresholds: green, and red from ``bad_from`` on; always green if it is None."""
    first, then = (RED, GREEN) if falling else (GREEN, RED)
    steps = [models.Threshold(value=None, color=GREEN if bad_from is None else first)]
    if bad_from is not None:
        steps.append(models.Threshold(value=bad_from, color=then))
    return build.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _lines(panel: Lines) -> timeseries.Panel:
    lines = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(SOURCE)
        .unit(panel.unit)
        .span(panel.width)
        .height(8)
        .min(0)
        .fill_opacity(25 if panel.stacked else 5)
        .line_width(1.5)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            build_common.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(
            build_common.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
        .data_links([build.DashboardLink("Debug this model").url(_debug_url(panel))])
    )
    if panel.stacked:
        lines.stacking(build_common.StackingConfig().mode(common.StackingMode.NORMAL))
    if panel.bound is not None:
        lines.thresholds(_steps(panel.bound))
        lines.thresholds_style(build_common.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.LINE))
    for number, query in enumerate(panel.queries):
        lines.with_target(_query(query, number))
    return lines


def _debug_url(panel: Lines) -> str:
    """Return a link to the debug dashboard for one line: its own labels, named in its legend, and the chosen others."""
    own = [name for name in VARIABLES if all(f"{{{{{name}}}}}" in query.legend for query in panel.queries)]
    if not own:
        return f"{DEBUG_URL}&${{__all_variables}}"
    parameters = [
        f"var-{name}=${{__field.labels.{name}}}" if name in own else f"${{{name}:queryparam}}"
        for name in ("source", *VARIABLES)
    ]
    return "&".join((DEBUG_URL, *parameters))


def _figure(panel: Figure) -> stat.Panel:
    return (
        stat.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(SOURCE)
        .unit(panel.unit)
        .span(SIXTH)
        .height(5)
        .no_value("-")
        .graph_mode(common.BigValueGraphMode.AREA)
        .color_mode(common.BigValueColorMode.VALUE)
        .thresholds(_steps(panel.bad_from, falling=panel.falling))
        .with_target(_query(panel.query, 0))
    )


def _rows(panel: Rows) -> table.Panel:
    order = {label: number for number, label in enumerate(panel.columns)}
    hidden = {"Time": True} | ({} if "Value" in panel.columns else {"Value": True})
    arrangement = models.DataTransformerConfig(
        id_val="organize", options={"excludeByName": hidden, "indexByName": order, "renameByName": dict(panel.columns)}
    )
    return (
        table.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(SOURCE)
        .unit(panel.unit)
        .span(panel.width)
        .height(8)
        .with_target(_query(panel.query, 0, instant=True).format(PromQueryFormat.TABLE))
        .with_transformation(arrangement)
    )


def _heat(panel: Heat) -> heatmap.Panel:
    return (
        heatmap.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(SOURCE)
        .span(panel.width)
        .height(8)
        .calculate(False)
        .with_target(_query(panel.query, 0).format(PromQueryFormat.HEATMAP))
    )
