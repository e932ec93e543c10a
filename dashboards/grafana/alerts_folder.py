"""Reads what `calmops slo generate` wrote into a folder of promises, and the files beside it, for a push to Grafana.

Reads only files: this package doesn't know the package that writes them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import msgspec
import yaml
from msgspec import Meta, Struct

from calmops.foundation.errors import ConfigError
from calmops.objectives.promises.maintenance import Maintenance, read_maintenance
from calmops.objectives.promises.windows import SPAN
from calmops.objectives.rules.alertmanager import ReceiversFile, read_receivers

SHIPPED = Path(__file__).resolve().parents[2] / "alerts"
RULES = "generated/prometheus-rules.yaml"
ROUTES = "generated/alertmanager.yaml"
Whole = Annotated[str, Meta(pattern=SPAN.pattern)]  # a span with one unit, as every generated span has
File = TypeVar("File", bound=Struct)


class Rule(Struct, frozen=True, kw_only=True):
    """Holds one rule of Prometheus, which either alerts or records."""

    expr: str
    alert: str | None = None
    record: str | None = None
    lasting: Whole | None = msgspec.field(name="for", default=None)
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class RuleGroup(Struct, frozen=True, kw_only=True):
    """Holds rules that are evaluated together."""

    name: str
    interval: Whole
    rules: tuple[Rule, ...]


class Route(Struct, frozen=True, kw_only=True):
    """Says which alerts go to which of Alertmanager's receivers, and how often."""

    receiver: str
    group_by: tuple[str, ...]
    matchers: tuple[str, ...] = ()
    group_wait: Whole = "30s"  # Alertmanager's own defaults
    group_interval: Whole = "5m"
    repeat_interval: Whole = "4h"
    goes_on: bool = msgspec.field(name="continue", default=False)
    routes: tuple["Route", ...] = ()

    def of(self, labels: dict[str, str]) -> list["Route"]:
        """Return the branches that an alert with these labels takes, in order; this route if no branch matches."""
        branches = []
        for route in self.routes:
            if all(_matches(matcher, labels) for matcher in route.matchers):
                branches.append(route)
                if not route.goes_on:
                    break
        return branches or [self]


class RulesFile(Struct, frozen=True, kw_only=True):
    """Holds the content of prometheus-rules.yaml."""

    groups: tuple[RuleGroup, ...]


class RoutesFile(Struct, frozen=True, kw_only=True):
    """Holds alertmanager.yaml, as far as it is read here."""

    route: Route


class AlertsFolder(NamedTuple):
    """Holds everything from which a push of alerts is made."""

    groups: Sequence[RuleGroup]
    route: Route
    receivers: ReceiversFile
    announced: Sequence[Maintenance]


def read_alerts(folder: Path = SHIPPED) -> AlertsFolder:
    """Read a folder. Where it lacks a file that isn't generated, read the one that ships. Raises ConfigError."""
    groups = _generated(folder, RULES, RulesFile).groups
    route = _generated(folder, ROUTES, RoutesFile).route
    receivers = read_receivers(_beside(folder, "receivers.yaml"), ())
    known = {one.name for one in receivers.receivers}
    strangers = sorted({one.receiver for one in (route, *route.routes)} - known)
    if strangers:
        raise ConfigError(
            f"{folder / ROUTES}: notifies {', '.join(strangers)}, not named in receivers.yaml; {_remedy(folder)}"
        )
    return AlertsFolder(groups, route, receivers, read_maintenance(_beside(folder, "maintenance.yaml")))


def _generated(folder: Path, name: str, record: type[File]) -> File:
    path = folder / name
    try:
        return msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), record)
    except OSError as error:
        raise ConfigError(
            f"{path}: can't be read: {error.strerror}; name its folder with --alerts, or {_remedy(folder)}"
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"{path}: isn't as it was generated ({' '.join(str(error).split())}); {_remedy(folder)}"
        ) from error


def _remedy(folder: Path) -> str:
    return f"write it again with `calmops slo generate --folder {folder}`"


def _beside(folder: Path, name: str) -> Path:
    own = folder / name
    return own if own.is_file() else SHIPPED / name


def _matches(matcher: str, labels: dict[str, str]) -> bool:
    """Return whether the labels satisfy ``name="value"``. Generated routes have no other matchers."""
    name, _, value = matcher.partition("=")
    return labels.get(name) == value.strip('"')
