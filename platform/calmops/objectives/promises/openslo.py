"""Turns OpenSLO documents (alerts/objectives/*.yaml) into objectives.

A document that can't be kept is refused with its file, line and a remedy. Knows neither PromQL nor the evaluator.
"""

from pathlib import Path
from typing import Any

import msgspec

from calmops.foundation.config_file import Problem, parse
from calmops.foundation.errors import ConfigError
from calmops.objectives.promises.objective import COUNTED, GAUGES, AnyObjective, Ratio, Source, Value, Zero
from calmops.objectives.promises.openslo_schema import Annotations, Document, EventsSpec, RatioMetric
from calmops.objectives.promises.windows import Windows, seconds, span_problem

PREFIX = "calmops.dev/"


def read_objective(path: Path, windows: Windows) -> AnyObjective:
    """Read one document. Raises ConfigError, one line per problem."""
    tree = parse(path, Document, lambda tree: _contradictions(tree, windows))
    return _objective(msgspec.convert(tree, Document))


def read_objectives(folder: Path, windows: Windows) -> list[AnyObjective]:
    """Read every ``*.yaml`` of a folder, in order of their names. Raises ConfigError with all problems of all files."""
    objectives: list[AnyObjective] = []
    problems: list[str] = []
    files: dict[str, str] = {}  # maps names and alerts to the file that has them
    for path in sorted(folder.glob("*.yaml")):
        try:
            objective = read_objective(path, windows)
        except ConfigError as error:
            problems.append(str(error))
            continue
        objectives.append(objective)
        for field, name in (("name", objective.name), ("alert", objective.alert)):
            if name in files:
                problems.append(
                    f"{path.name}: metadata: the {field} {name} is {files[name]}'s; each objective has its own"
                )
            files.setdefault(name, path.name)
    if not objectives and not problems:
        problems.append(f"{folder}: holds no objective (*.yaml)")
    if problems:
        raise ConfigError("\n".join(problems))
    return objectives


def _objective(document: Document) -> AnyObjective:
    metadata, spec = document.metadata, document.spec
    annotations = msgspec.convert(_own_annotations(metadata.annotations), Annotations)
    common: dict[str, Any] = {
        "name": metadata.name, "title": metadata.displayName, "says": spec.description, "alert": annotations.alert,
        "severity": annotations.severity, "team": annotations.team, "escalation": annotations.escalation,
    }  # fmt: skip
    goal, indicator = spec.objectives[0], spec.indicator.spec
    if indicator.thresholdMetric is not None:
        assert goal.op is not None and goal.value is not None and goal.lasting is not None
        gauge = indicator.thresholdMetric.metricSource.spec.gauge
        return Value(**common, gauge=gauge, op=goal.op, bound=goal.value, for_s=seconds(goal.lasting))
    assert indicator.ratioMetric is not None
    good = indicator.ratioMetric.good.metricSource.spec
    source = Source(events=good.events, within_s=good.within_s)
    if goal.target is None:
        return Zero(**common, source=source)
    period_s = seconds(spec.timeWindow[0].duration)
    least_events = int(annotations.least_events)
    return Ratio(**common, source=source, target=goal.target, period_s=period_s, least_events=least_events)


def _own_annotations(annotations: dict[str, str]) -> dict[str, str]:
    return {
        key.removeprefix(PREFIX).replace("-", "_"): text for key, text in annotations.items() if key.startswith(PREFIX)
    }


def _contradictions(tree: dict[str, Any], windows: Windows) -> list[Problem]:
    problems = list(_annotation_problems(tree["metadata"]["annotations"]))
    problems += span_problem("spec.timeWindow[0].duration", tree["spec"]["timeWindow"][0]["duration"])
    problems += [
        Problem(f"spec.{field}[1]", f"only one is supported, got {len(tree['spec'][field])}; write one document each")
        for field in ("timeWindow", "objectives")
        if len(tree["spec"][field]) > 1
    ]
    if not tree["spec"]["timeWindow"][0]["isRolling"]:
        problems.append(Problem("spec.timeWindow[0].isRolling", "must be true: calendar periods aren't supported"))
    lasting = tree["spec"]["objectives"][0].get("lasting")
    problems += span_problem("spec.objectives[0].lasting", lasting) if lasting is not None else []
    if not problems:
        problems += _goal_problems(msgspec.convert(tree, Document))
    if not problems:
        problems += _firing_problems(_objective(msgspec.convert(tree, Document)), windows)
    return problems


def _annotation_problems(annotations: dict[str, str]) -> list[Problem]:
    where = "metadata.annotations"
    try:
        msgspec.convert(_own_annotations(annotations), Annotations)
    except msgspec.ValidationError as error:
        names = ", ".join(f"{PREFIX}{name.replace('_', '-')}" for name in Annotations.__struct_fields__)
        return [Problem(where, f"{str(error).replace('`', '')}; an objective has {names}")]
    return []


def _goal_problems(document: Document) -> list[Problem]:
    """Return what is wrong if kind, indicator and goal don't belong together, or the source can't judge an event."""
    goal, spec = document.spec.objectives[0], document.spec.indicator.spec
    where = "spec.objectives[0]"
    given = [name for name in ("target", "most", "op", "value", "lasting") if getattr(goal, name) is not None]
    fitting = {
        ("target",): ("openslo/v1", "ratioMetric"),
        ("most",): ("calmops/v1", "ratioMetric"),
        ("op", "value", "lasting"): ("calmops/v1", "thresholdMetric"),
    }.get(tuple(given))
    if fitting is None:
        fields = ", ".join(given) or "none of them"
        return [Problem(where, f"must have target, or most, or op, value and lasting, got {fields}")]
    version, indicator = fitting
    problems = []
    if document.apiVersion != version:
        problems.append(
            Problem("apiVersion", f"must be {version} for an objective with {given[0]}, got {document.apiVersion}")
        )
    if getattr(spec, indicator) is None or (spec.ratioMetric is not None and spec.thresholdMetric is not None):
        problems.append(Problem("spec.indicator.spec", f"must have {indicator} alone for an objective with {given[0]}"))
    elif spec.ratioMetric is not None:
        problems += _source_problems(spec.ratioMetric)
    elif spec.thresholdMetric is not None and (gauge := spec.thresholdMetric.metricSource.spec.gauge) not in GAUGES:
        problems.append(
            Problem("spec.indicator.spec.thresholdMetric", f"{gauge!r} is no gauge; there are {', '.join(GAUGES)}")
        )
    return problems


def _source_problems(metric: RatioMetric) -> list[Problem]:
    where = "spec.indicator.spec.ratioMetric"
    good, total = metric.good.metricSource.spec, metric.total.metricSource.spec
    if not metric.counter:
        return [Problem(f"{where}.counter", "must be true: the meter counts events")]
    if total != EventsSpec(events=good.events):
        return [Problem(f"{where}.total", f"must count the same events, {good.events}, without within_s")]
    edges, within_s = COUNTED[good.events], good.within_s
    if not edges and within_s is not None:
        return [
            Problem(f"{where}.good", f"{good.events} end well or badly, however long they take; leave within_s out")
        ]
    if edges and within_s not in edges:
        actual = f"got {within_s:g}" if within_s is not None else "but is missing"
        allowed = ", ".join(f"{edge:g}" for edge in edges)
        return [Problem(f"{where}.good", f"within_s must be an edge of the metric's buckets ({allowed}), {actual}")]
    return []


def _firing_problems(objective: AnyObjective, windows: Windows) -> list[Problem]:
    """Return what is wrong with a ratio for which no window can ever fire: it would promise nothing."""
    if not isinstance(objective, Ratio):
        return []
    usable, left_out = windows.of(objective)
    if usable:
        return []
    factors = ", ".join(f"{one.name} needs {one.factor:g} x {objective.budget:g} < 1" for one in left_out)
    return [
        Problem(
            "spec.objectives[0].target",
            f"{objective.target:g} allows so many bad events that no window's factor can be reached "
            f"({factors or 'there is none'}); raise the target or add a window to windows.yaml",
        )
    ]
