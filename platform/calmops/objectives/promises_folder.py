"""A folder of promises as one value: objectives/, windows.yaml, receivers.yaml, maintenance.yaml, links.yaml.

Files that somebody's own folder lacks are those that ship, so that an own objective needs one file.
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
    """links.yaml."""

    runbooks: Annotated[str, Meta(pattern="^https?://", description="where runbooks lie: an http or https address")]
    dashboards: Annotated[str, Meta(pattern="^https?://", description="where dashboards lie: an http or https address")]


class Folder(NamedTuple):
    """Everything that was written down."""

    promises: Promises
    receivers: ReceiversFile
    links: Links


def shipped() -> Path:
    """The folder that ships, which is the package ``alerts``: looked up, not imported, since it lies above."""
    found = find_spec("alerts")
    if found is None or found.origin is None:
        raise SetupError("the package `alerts` did not come with this installation of calmops; install it again")
    return Path(found.origin).parent


def read_folder(folder: Path | None = None) -> Folder:
    """Read a folder, what ships if None. Raises ConfigError, one line for each problem of the files that could be read."""
    ships = shipped()
    folder = folder or ships
    if not (folder / "objectives").is_dir():
        raise ConfigError(
            f"{folder}: has no folder objectives/; name the folder that holds it, or copy {ships} and change that"
        )

    def file(name: str) -> Path:
        return folder / name if (folder / name).is_file() else ships / name

    windows = read_windows(file("windows.yaml"))
    objectives = read_objectives(folder / "objectives", windows)
    announced = read_maintenance(file("maintenance.yaml"))
    own_links = folder != ships and (folder / "links.yaml").is_file()
    links = msgspec.convert(parse(file("links.yaml"), LinksFile, lambda _: []), LinksFile)
    return Folder(
        Promises(objectives, windows, announced, links.runbooks.rstrip("/") if own_links else None),
        read_receivers(file("receivers.yaml"), objectives),
        Links(links.runbooks, links.dashboards),
    )
