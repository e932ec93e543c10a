"""Describes alerts and objectives for the console's page, as plain values for JSON. Pure."""

from typing import Any

from calmops.foundation.model_labels import ModelLabels, ShardLabels
from calmops.objectives.evaluation.evaluator import Firing, model_of
from calmops.objectives.evaluation.status import Status
from calmops.objectives.promises.objective import AnyObjective, Ratio, Zero
from calmops.objectives.rules.alert_rules import CONSOLE_RUNBOOKS
from calmops.watching.judgement import Judgement


def alerts(judgement: Judgement) -> list[dict[str, Any]]:
    """Describe every alert that fires, pages first."""
    titles = {objective.alert: objective.title for objective in judgement.promises.objectives}
    runbooks = judgement.promises.runbooks or CONSOLE_RUNBOOKS
    return [
        {
            "alert": firing.alert,
            "title": titles[firing.alert],
            "severity": firing.severity,
            **_labels(model_of(firing.labels)),
            "shard": firing.labels.shard if isinstance(firing.labels, ShardLabels) else None,
            "value": firing.value,
            "since_s": judgement.since_s[_name(firing)],
            "runbook": f"{runbooks}/{firing.alert}.md",
        }
        for firing in judgement.shown()
    ]


def objectives(judgement: Judgement) -> list[dict[str, Any]]:
    """Describe how every objective stands."""
    return [_objective(status) for status in judgement.statuses()]


def _objective(status: Status) -> dict[str, Any]:
    objective: AnyObjective = status.objective
    kind = "ratio" if isinstance(objective, Ratio) else "zero" if isinstance(objective, Zero) else "value"
    return {
        "name": objective.name,
        "title": objective.title,
        "says": objective.says,
        "kind": kind if status.model is not None else "none",
        **_labels(status.model),
        "burn": status.burns,
        "left": status.left,
        "kept": status.kept,
        "told": status.in_words,
    }


def _labels(labels: ModelLabels | None) -> dict[str, Any]:
    """Return the model's name and, beside it, every label in the metrics' order; None if nothing was counted."""
    if labels is None:
        return {"model": None, "labels": {}}
    return {"model": labels.model, "labels": labels._asdict()}


def _name(firing: Firing) -> tuple[str, str, Any]:
    return firing.alert, firing.severity, firing.labels
