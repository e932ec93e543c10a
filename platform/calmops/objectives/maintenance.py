"""Announced maintenance (maintenance.yaml): when a model's burning budgets and values alert nobody.

The budget goes on counting, and a zero alerts all the same.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from calmops.foundation.config_file import Problem, parse
from calmops.objectives.recording import Rule
from calmops.objectives.series import MAINTENANCE

Moment = Annotated[datetime, Meta(tz=True, description="a time with its zone: 2026-12-01T22:00:00Z")]


class Maintenance(Struct, frozen=True, kw_only=True):
    """One announcement. ``model``: None for every model."""

    begins: Moment
    ends: Moment
    reason: Annotated[str, Meta(min_length=1, description="why, for whoever wonders at the silence")]
    model: str | None = None


class MaintenanceFile(Struct, frozen=True, kw_only=True):
    """maintenance.yaml."""

    maintenance: tuple[Maintenance, ...] = ()


def read_maintenance(path: Path) -> Sequence[Maintenance]:
    """maintenance.yaml. Raises ConfigError, one line for each problem."""
    return msgspec.convert(parse(path, MaintenanceFile, _contradictions), MaintenanceFile).maintenance


def maintained(announced: Iterable[Maintenance], at_s: float) -> set[str]:
    """The models that are being maintained at a Unix time; an empty name stands for every model."""
    return {one.model or "" for one in announced if one.begins.timestamp() <= at_s < one.ends.timestamp()}


def rules(announced: Iterable[Maintenance]) -> list[Rule]:
    """Recording rules of MAINTENANCE: 1 while it lasts, nothing before and after.

    One rule a model: where two rules record one series, the end of the first takes the beginning of the second with it.
    """
    lasting: dict[str | None, list[str]] = {}
    for one in announced:
        lasting.setdefault(one.model or None, []).append(
            f"vector(1) and on () (vector(time()) >= {one.begins.timestamp():.0f}) and on () (vector(time()) < {one.ends.timestamp():.0f})"
        )
    return [
        {"record": MAINTENANCE, "expr": "\nor\n".join(each), "labels": {"model": model} if model else {}} for model, each in lasting.items()
    ]


def _contradictions(tree: dict[str, Any]) -> list[Problem]:
    return [
        Problem(f"maintenance[{index}].ends", f"must lie after begins ({one['begins']:%Y-%m-%dT%H:%M%z}), got {one['ends']:%Y-%m-%dT%H:%M%z}")
        for index, one in enumerate(tree.get("maintenance", ()))
        if one["ends"] <= one["begins"]
    ]
