"""What `calmops slo generate` wrote into a folder of promises, and the files beside it: read here, made there.

Only files are read: this package doesn't know the one that writes them.
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
Whole = Annotated[str, Meta(pattern=SPAN.pattern)]  # a span with one unit, as all that is generated has it
File = TypeVar("File", bound=Struct)


class Rule(Struct, frozen=True, kw_only=True):
    """One rule of Prometheus: it alerts, or it records."""

    expr: str
    alert: str | None = None
    record: str | None = None
    lasting: Whole | None = msgspec.field(name="for", default=None)
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class RuleGroup(Struct, frozen=True, kw_only=True):
    """Rules that are evaluated together."""

    name: str
    interval: Whole
    rules: tuple[Rule, ...]


class Route(Struct, frozen=True, kw_only=True):
    """Who of Alertmanager's receivers is told of what, and how often."""

    receiver: str
    group_by: tuple[str, ...]
    matchers: tuple[str, ...] = ()
    group_wait: Whole = "30s"  # Alertmanager's own defaults
    group_interval: Whole = "5m"
    repeat_interval: Whole = "4h"
    goes_on: bool = msgspec.field(name="continue", default=False)
    routes: tuple["Route", ...] = ()

    def of(self, labels: dict[str, str]) -> list["Route"]:
        """Those that an alert with these labels takes, one after the other; this one if none of its branches matches."""
        taken = []
        for route in self.routes:
            if all(_matches(matcher, labels) for matcher in route.matchers):
                taken.append(route)
                if not route.goes_on:
                    break
        return taken or [self]


class RulesFile(Struct, frozen=True, kw_only=True):
    """prometheus-rules.yaml."""

    groups: tuple[RuleGroup, ...]


class RoutesFile(Struct, frozen=True, kw_only=True):
    """alertmanager.yaml, as far as it is read here."""

    route: Route


class AlertsFolder(NamedTuple):
    """Everything that a push of alerts is made of."""

    groups: Sequence[RuleGroup]
    route: Route
    receivers: ReceiversFile
    announced: Sequence[Maintenance]


def read_alerts(folder: Path = SHIPPED) -> AlertsFolder:
    """Read a folder. Files that an own folder lacks, but for the generated ones, are those that ship. Raises ConfigError."""
    groups = _generated(folder, RULES, RulesFile).groups
    route = _generated(folder, ROUTES, RoutesFile).route
    receivers = read_receivers(_beside(folder, "receivers.yaml"), ())
    known = {one.name for one in receivers.receivers}
    strangers = sorted({one.receiver for one in (route, *route.routes)} - known)
    if strangers:
        raise ConfigError(
            f"{folder / ROUTES}: tells {', '.join(strangers)}, whom receivers.yaml doesn't name; {_anew(folder)}"
        )
    return AlertsFolder(groups, route, receivers, read_maintenance(_beside(folder, "maintenance.yaml")))


def _generated(folder: Path, name: str, record: type[File]) -> File:
    path = folder / name
    try:
        return msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), record)
    except OSError as error:
        raise ConfigError(
            f"{path}: can't be read: {error.strerror}; name the folder that holds it by --alerts, or {_anew(folder)}"
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"{path}: isn't as it was generated ({' '.join(str(error).split())}); {_anew(folder)}"
        ) from error


def _anew(folder: Path) -> str:
    return f"write it anew by `calmops slo generate --folder {folder}`"


def _beside(folder: Path, name: str) -> Path:
    own = folder / name
    return own if own.is_file() else SHIPPED / name


def _matches(matcher: str, labels: dict[str, str]) -> bool:
    """``name="value"``: what is generated has no other matchers."""
    name, _, value = matcher.partition("=")
    return labels.get(name) == value.strip('"')
