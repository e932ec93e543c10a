"""Reads a folder of promises: objectives/, windows.yaml, receivers.yaml, maintenance.yaml and links.yaml.

Where a folder of your own lacks a file, the one that ships is read, so that an objective of your own needs one file.
Knows nothing of what is made from the promises: rules, routes and judgement.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from calmops.foundation.config_file import parse
from calmops.foundation.errors import ConfigError, SetupError
from calmops.objectives.promises.maintenance import read_maintenance
from calmops.objectives.promises.openslo import read_objectives
from calmops.objectives.promises.promises import Promises
from calmops.objectives.promises.windows import read_windows
from calmops.objectives.rules.alert_rules import Links
from calmops.objectives.rules.alertmanager import ReceiversFile, read_receivers


class LinksFile(Struct, frozen=True, kw_only=True):
    """Holds the content of links.yaml."""

    runbooks: Annotated[str, Meta(pattern="^https?://", description="where runbooks lie: an http or https address")]
    dashboards: Annotated[str, Meta(pattern="^https?://", description="where dashboards lie: an http or https address")]


class Folder(NamedTuple):
    """Holds everything that was read from a folder of promises."""

    promises: Promises
    receivers: ReceiversFile
    links: Links


def shipped() -> Path:
    """Return the folder that ships: the package ``alerts``, located but not imported, since it is an outer package."""
    spec = find_spec("alerts")
    if spec is None or spec.origin is None:
        raise SetupError("the package `alerts` did not come with this installation of calmops; install it again")
    return Path(spec.origin).parent


def read_folder(folder: Path | None = None) -> Folder:
    """Read a folder, or the one that ships if None. Raises ConfigError, one line per problem."""
    default = shipped()
    folder = folder or default
    if not (folder / "objectives").is_dir():
        raise ConfigError(
            f"{folder}: has no folder objectives/; name the folder that holds it, or copy {default} and change that"
        )

    def file(name: str) -> Path:
        return folder / name if (folder / name).is_file() else default / name

    windows = read_windows(file("windows.yaml"))
    objectives = read_objectives(folder / "objectives", windows)
    announced = read_maintenance(file("maintenance.yaml"))
    own_links = folder != default and (folder / "links.yaml").is_file()
    links = msgspec.convert(parse(file("links.yaml"), LinksFile, lambda _: []), LinksFile)
    return Folder(
        Promises(objectives, windows, announced, links.runbooks.rstrip("/") if own_links else None),
        read_receivers(file("receivers.yaml"), objectives),
        Links(links.runbooks, links.dashboards),
    )
