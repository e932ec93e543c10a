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


def _contradictions(tree: dict[str, Any]) -> list[Problem]:
    return [
        Problem(
            f"maintenance[{index}].ends",
            f"must lie after begins ({one['begins']:%Y-%m-%dT%H:%M%z}), got {one['ends']:%Y-%m-%dT%H:%M%z}",
        )
        for index, one in enumerate(tree.get("maintenance", ()))
        if one["ends"] <= one["begins"]
    ]
