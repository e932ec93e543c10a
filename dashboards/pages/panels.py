"""How every panel of ours looks: units, bounds, legends, variables and links, once. Knows Grafana's builders, no metric."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from grafana_foundation_sdk.builders import common as build_common
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import heatmap, logs, prometheus, stat, table, text, timeseries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.grafana.ownership import MARKS, TAG
from dashboards.pages.log_and_trace_panels import KeptTraces, LogLines, lines_panel, sources, traces_panel

SOURCE = common.DataSourceRef(type_val="prometheus", uid="${source}")
WHOLE, HALF, THIRD, QUARTER, SIXTH = 24, 12, 8, 6, 4
VARIABLES = ("model", "version", "variant", "shard")  # in the order in which each narrows the next
RATE = "$__rate_interval"
DEBUG_URL = "/d/calmops-debug?${__url_time_range}"
RED, GREEN, ORANGE = "red", "green", "orange"


class Query(NamedTuple):
    """One expression and how its series are named."""

    expression: str
    legend: str = ""


class Figure(NamedTuple):
    """A panel with one number: ``bad_from``: where it turns red; ``falling``: bad lies below that instead."""

    title: str
    unit: str
    query: Query
    bad_from: float | None = None
    falling: bool = False
    says: str = ""


class Lines(NamedTuple):
    """A panel with lines over time; ``bound``: a red line at what shouldn't be passed."""

    title: str
    unit: str
    queries: Sequence[Query]
    bound: float | None = None
    says: str = ""
    width: int = HALF
    stacked: bool = False


class Rows(NamedTuple):
    """A table with one row a series, as it is now."""

    title: str
    query: Query
    columns: dict[str, str]  # label to heading; "Value" is the number
    unit: str = "short"
    width: int = HALF
    says: str = ""


class Heat(NamedTuple):
    """A histogram's buckets over time."""

    title: str
    query: Query  # its legend is {{le}}
    says: str = ""
    width: int = HALF


class Words(NamedTuple):
    """A panel that says something."""

    title: str
    markdown: str
    width: int = WHOLE


Panel = Figure | Lines | Rows | Heat | Words | LogLines | KeptTraces


class Section(NamedTuple):
    """A heading and what stands under it."""

    title: str
    panels: Sequence[Panel]


def chosen(*names: str) -> str:
    """Label matchers for the chosen variables; "All" also takes series that lack the label."""
    return ", ".join(f'{name}=~"${name}"' for name in names or VARIABLES)


def dashboard(uid: str, title: str, says: str, sections: Iterable[Section]) -> build.Dashboard:
    """One dashboard, with our variables, links to the others, and marks where something was deployed or broken on purpose."""
    sections = list(sections)
    made = (
        build.Dashboard(title)
        .uid(uid)
        .description(says)
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
        made.with_variable(_variable(name))
    if any(isinstance(panel, LogLines | KeptTraces) for section in sections for panel in section.panels):
        for source in sources():
            made.with_variable(source)
    for name, colour in MARKS.items():
        made.annotation(_marks(name, colour))
    for section in sections:
        made.with_row(build.Row(section.title))
        for panel in section.panels:
            made.with_panel(_panel(panel))
    return made


def _variable(name: str) -> build.QueryVariable:
    """Its values narrow with those before it."""
    before = VARIABLES[: VARIABLES.index(name)]
    series = f"calmops_objective_events_total{{{chosen(*before)}}}" if before else "calmops_objective_events_total"
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
    """Annotations that bear our tag and this one: `calmops` writes them when it deploys and on game days."""
    grafana = common.DataSourceRef(type_val="grafana", uid="-- Grafana --")
    target = build.AnnotationTarget().limit(100).match_any(False).tags([TAG, tag]).type("tags")
    return build.AnnotationQuery().name(tag).datasource(grafana).enable(True).icon_color(colour).target(target)  # type: ignore[arg-type]


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
    made = (
        prometheus.Dataquery()
        .expr(query.expression)
        .legend_format(query.legend or "__auto")
        .ref_id(chr(ord("A") + number))
    )
    if "_bucket{" in query.expression:  # a point then leads to a trace
        made.exemplar(True)
    return made.instant() if instant else made.range()


def _steps(bad_from: float | None, *, falling: bool = False) -> build.ThresholdsConfig:
    """Green, and red from ``bad_from`` on; without one always green."""
    first, then = (RED, GREEN) if falling else (GREEN, RED)
    steps = [models.Threshold(value=None, color=GREEN if bad_from is None else first)]
    if bad_from is not None:
        steps.append(models.Threshold(value=bad_from, color=then))
    return build.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _lines(panel: Lines) -> timeseries.Panel:
    made = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.says)
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
            .display_mode(common.LegendDisplayMode.LIST).placement(common.LegendPlacement.BOTTOM).show_legend(True)
        )
        .tooltip(build_common.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        .data_links([build.DashboardLink("Debug this model").url(_debug_url(panel))])
    )  # fmt: skip
    if panel.stacked:
        made.stacking(build_common.StackingConfig().mode(common.StackingMode.NORMAL))
    if panel.bound is not None:
        made.thresholds(_steps(panel.bound))
        made.thresholds_style(build_common.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.LINE))
    for number, query in enumerate(panel.queries):
        made.with_target(_query(query, number))
    return made


def _debug_url(panel: Lines) -> str:
    """Debugging what a line is about: its own labels, which its legend names, and what is chosen for the others."""
    own = [name for name in VARIABLES if all(f"{{{{{name}}}}}" in query.legend for query in panel.queries)]
    if not own:
        return f"{DEBUG_URL}&${{__all_variables}}"
    told = [
        f"var-{name}=${{__field.labels.{name}}}" if name in own else f"${{{name}:queryparam}}"
        for name in ("source", *VARIABLES)
    ]
    return "&".join((DEBUG_URL, *told))


def _figure(panel: Figure) -> stat.Panel:
    return (
        stat.Panel()
        .title(panel.title)
        .description(panel.says)
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
    arranged = models.DataTransformerConfig(
        id_val="organize", options={"excludeByName": hidden, "indexByName": order, "renameByName": dict(panel.columns)}
    )
    made = (
        table.Panel()
        .title(panel.title)
        .description(panel.says)
        .datasource(SOURCE)
        .unit(panel.unit)
        .span(panel.width)
        .height(8)
    )
    query = _query(panel.query, 0, instant=True).format(PromQueryFormat.TABLE)
    return made.with_target(query).with_transformation(arranged)


def _heat(panel: Heat) -> heatmap.Panel:
    query = _query(panel.query, 0).format(PromQueryFormat.HEATMAP)
    made = heatmap.Panel().title(panel.title).description(panel.says).datasource(SOURCE).span(panel.width).height(8)
    return made.calculate(False).with_target(query)
