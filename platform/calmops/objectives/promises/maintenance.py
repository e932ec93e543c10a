"""Reads announced maintenance (maintenance.yaml), during which a model's burning budgets and values alert nobody.

The budget goes on counting, and a zero alerts all the same. Knows neither rules nor evaluator.
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
    """Announces maintenance of one model, or of every model if ``model`` is None."""

    begins: Moment
    ends: Moment
    reason: Annotated[str, Meta(min_length=1, description="why, for people who wonder at the silence")]
    model: str | None = None


class MaintenanceFile(Struct, frozen=True, kw_only=True):
    """Holds the content of maintenance.yaml."""

    maintenance: tuple[Maintenance, ...] = ()


def read_maintenance(path: Path) -> Sequence[Maintenance]:
    """Read maintenance.yaml. Raises ConfigError, one line per problem."""
    return msgspec.convert(parse(path, MaintenanceFile, _contradictions), MaintenanceFile).maintenance


def maintained(announced: Iterable[Maintenance], at_s: float) -> set[str]:
    """Return the models that are in maintenance at ``at_s`` (Unix seconds); an empty name stands for every model."""
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
