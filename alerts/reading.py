"""A folder of promises as one value: objectives/, windows.yaml, receivers.yaml, maintenance.yaml, links.yaml.

Files that somebody's own folder lacks are those that ship, so that an own objective needs one file.
"""

from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from calmops.foundation.config_file import parse
from calmops.foundation.errors import ConfigError
from calmops.objectives.alerting import Links
from calmops.objectives.maintenance import read_maintenance
from calmops.objectives.notifying import ReceiversFile, read_receivers
from calmops.objectives.openslo import read_objectives
from calmops.objectives.rules import Promises
from calmops.objectives.windows import read_windows

SHIPPED = Path(__file__).resolve().parent


class LinksFile(Struct, frozen=True, kw_only=True):
    """links.yaml."""

    runbooks: Annotated[str, Meta(pattern="^https?://", description="where runbooks lie: an http or https address")]
    dashboards: Annotated[str, Meta(pattern="^https?://", description="where dashboards lie: an http or https address")]


class Folder(NamedTuple):
    """Everything that was written down."""

    promises: Promises
    receivers: ReceiversFile
    links: Links


def read_folder(folder: Path = SHIPPED) -> Folder:
    """Read a folder. Raises ConfigError, one line for each problem of the files that could be read."""
    if not (folder / "objectives").is_dir():
        raise ConfigError(f"{folder}: has no folder objectives/; name the folder that holds it, or copy {SHIPPED} and change that")
    windows = read_windows(_file(folder, "windows.yaml"))
    objectives = read_objectives(folder / "objectives", windows)
    announced = read_maintenance(_file(folder, "maintenance.yaml"))
    links = msgspec.convert(parse(_file(folder, "links.yaml"), LinksFile, lambda _: []), LinksFile)
    return Folder(
        Promises(objectives, windows, announced),
        read_receivers(_file(folder, "receivers.yaml"), objectives),
        Links(links.runbooks, links.dashboards),
    )


def _file(folder: Path, name: str) -> Path:
    own = folder / name
    return own if own.is_file() else SHIPPED / name
