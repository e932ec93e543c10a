"""Objectives from their OpenSLO documents (alerts/objectives/*.yaml), refused with file, line and remedy if they can't be kept."""

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
    """One document. Raises ConfigError, one line for each problem."""
    tree = parse(path, Document, lambda tree: _contradictions(tree, windows))
    return _objective(msgspec.convert(tree, Document))


def read_objectives(folder: Path, windows: Windows) -> list[AnyObjective]:
    """Every ``*.yaml`` of a folder, in order of their names. Raises ConfigError for all problems of all files."""
    found: list[AnyObjective] = []
    problems: list[str] = []
    files: dict[str, str] = {}  # names and alerts, to the file that has them
    for path in sorted(folder.glob("*.yaml")):
        try:
            objective = read_objective(path, windows)
        except ConfigError as error:
            problems.append(str(error))
            continue
        found.append(objective)
        for what, name in (("name", objective.name), ("alert", objective.alert)):
            if name in files:
                problems.append(
                    f"{path.name}: metadata: the {what} {name} is {files[name]}'s; each objective has its own"
                )
            files.setdefault(name, path.name)
    if not found and not problems:
        problems.append(f"{folder}: holds no objective (*.yaml)")
    if problems:
        raise ConfigError("\n".join(problems))
    return found


def _objective(document: Document) -> AnyObjective:
    metadata, spec = document.metadata, document.spec
    notes = msgspec.convert(_ours(metadata.annotations), Annotations)
    common: dict[str, Any] = {
        "name": metadata.name, "title": metadata.displayName, "says": spec.description, "alert": notes.alert,
        "severity": notes.severity, "team": notes.team, "escalation": notes.escalation,
    }  # fmt: skip
    goal, how = spec.objectives[0], spec.indicator.spec
    if how.thresholdMetric is not None:
        assert goal.op is not None and goal.value is not None and goal.lasting is not None
        gauge = how.thresholdMetric.metricSource.spec.gauge
        return Value(**common, gauge=gauge, op=goal.op, bound=goal.value, for_s=seconds(goal.lasting))
    assert how.ratioMetric is not None
    good = how.ratioMetric.good.metricSource.spec
    source = Source(events=good.events, within_s=good.within_s)
    if goal.target is None:
        return Zero(**common, source=source)
    period_s = seconds(spec.timeWindow[0].duration)
    return Ratio(**common, source=source, target=goal.target, period_s=period_s, least_events=int(notes.least_events))


def _ours(annotations: dict[str, str]) -> dict[str, str]:
    return {
        key.removeprefix(PREFIX).replace("-", "_"): text for key, text in annotations.items() if key.startswith(PREFIX)
    }


def _contradictions(tree: dict[str, Any], windows: Windows) -> list[Problem]:
    problems = list(_annotation_problems(tree["metadata"]["annotations"]))
    problems += span_problem("spec.timeWindow[0].duration", tree["spec"]["timeWindow"][0]["duration"])
    problems += [
        Problem(f"spec.{what}[1]", f"only one is supported, got {len(tree['spec'][what])}; write one document each")
        for what in ("timeWindow", "objectives")
        if len(tree["spec"][what]) > 1
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
        msgspec.convert(_ours(annotations), Annotations)
    except msgspec.ValidationError as error:
        wanted = ", ".join(f"{PREFIX}{name.replace('_', '-')}" for name in Annotations.__struct_fields__)
        return [Problem(where, f"{str(error).replace('`', '')}; an objective has {wanted}")]
    return []


def _goal_problems(document: Document) -> list[Problem]:
    """Whether kind, indicator and goal belong together, and whether the source can tell good from bad."""
    goal, how = document.spec.objectives[0], document.spec.indicator.spec
    where = "spec.objectives[0]"
    given = [name for name in ("target", "most", "op", "value", "lasting") if getattr(goal, name) is not None]
    fitting = {
        ("target",): ("openslo/v1", "ratioMetric"),
        ("most",): ("calmops/v1", "ratioMetric"),
        ("op", "value", "lasting"): ("calmops/v1", "thresholdMetric"),
    }.get(tuple(given))
    if fitting is None:
        return [
            Problem(
                where, f"must have target, or most, or op, value and lasting, got {', '.join(given) or 'none of them'}"
            )
        ]
    version, indicator = fitting
    problems = []
    if document.apiVersion != version:
        problems.append(
            Problem("apiVersion", f"must be {version} for an objective with {given[0]}, got {document.apiVersion}")
        )
    if getattr(how, indicator) is None or (how.ratioMetric is not None and how.thresholdMetric is not None):
        problems.append(Problem("spec.indicator.spec", f"must have {indicator} alone for an objective with {given[0]}"))
    elif how.ratioMetric is not None:
        problems += _source_problems(how.ratioMetric)
    elif how.thresholdMetric is not None and (gauge := how.thresholdMetric.metricSource.spec.gauge) not in GAUGES:
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
        return [Problem(f"{where}.good", f"{good.events} end well or badly, whatever they take; leave within_s out")]
    if edges and within_s not in edges:
        told = f"got {within_s:g}" if within_s is not None else "but is missing"
        return [
            Problem(
                f"{where}.good",
                f"within_s must be an edge of the metric's buckets ({', '.join(f'{edge:g}' for edge in edges)}), {told}",
            )
        ]
    return []


def _firing_problems(objective: AnyObjective, windows: Windows) -> list[Problem]:
    """A ratio that no window can ever fire for says nothing."""
    if not isinstance(objective, Ratio):
        return []
    usable, left_out = windows.of(objective)
    if usable:
        return []
    told = ", ".join(f"{one.name} needs {one.factor:g} x {objective.budget:g} < 1" for one in left_out)
    return [
        Problem(
            "spec.objectives[0].target",
            f"{objective.target:g} allows so many bad events that no window's factor can be reached ({told or 'there is none'}); "
            "raise the target or add a window to windows.yaml",
        )
    ]
