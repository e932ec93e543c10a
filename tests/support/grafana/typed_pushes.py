"""Runs pushes as a person types them: the commands of this checkout, and what they print."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from dashboards.commands import commands

PROMETHEUS = ("--prometheus", "http://prometheus:9090")
DASHBOARDS = ("dashboards", "push", *PROMETHEUS)
ALERTS = ("alerts", "push", *PROMETHEUS)
SHIPPED = Path(__file__).resolve().parents[3] / "alerts"


class Output(NamedTuple):
    """Holds how a command exited and what it printed."""

    status: int
    out: str
    err: str

    def changes(self) -> dict[str, str]:
        """Return each thing of a push with `--json`, "kind name", with what was done to it."""
        assert self.status == 0, self.err
        return {f"{one['kind']} {one['name']}": one["action"] for one in json.loads(self.out)["changes"]}


Run = Callable[..., Output]


class EntryPoint:
    """Stands in for the installed entry point, so that the commands are those of this checkout."""

    name = "dashboards"

    @staticmethod
    def load() -> Any:
        return commands


def drop_alerts(folder: Path, *names: str) -> None:
    """Remove alerts from a folder's generated rules."""
    file = folder / "generated/prometheus-rules.yaml"
    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    for group in tree["groups"]:
        group["rules"] = [one for one in group["rules"] if one.get("alert") not in names]
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")


def announce_maintenance(folder: Path, model: str | None = None) -> None:
    """Announce maintenance over the new year of 2127, of one model or of all."""
    of_model = f"model: {model}, " if model else ""
    span = "begins: 2126-12-31T22:00:30Z, ends: 2127-01-01T03:30:00+01:00"
    text = f"maintenance:\n  - {{{of_model}{span}, reason: new driver}}\n"
    (folder / "maintenance.yaml").write_text(text, encoding="utf-8")
