"""A push as a person types it: the commands of this checkout, and what they said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from dashboards.commands import commands

PROMETHEUS = ("--prometheus", "http://prometheus:9090")
DASHBOARDS = ("dashboards", "push", *PROMETHEUS)
ALERTS = ("alerts", "push", *PROMETHEUS)
SHIPPED = Path(__file__).resolve().parents[3] / "alerts"


class Said(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Said]


class Point:
    """What stands for an entry point: ours are those of this checkout, wherever the installed ones lead."""

    name = "dashboards"

    @staticmethod
    def load() -> Any:
        return commands
