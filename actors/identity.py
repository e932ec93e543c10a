"""What each application is made of, as one digest: where it is the same, nothing has to be deployed again.

Serve restarts every replica of whatever it is told to deploy, changed or not; a rollout of a model must not restart the gateway,
whose streams it would end up cutting, nor the meter (decision 11).
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import actors
import calmops
from actors import app
from actors.applications import GATEWAY_APP, TELEMETRY_APP, model_app
from calmops.foundation.config import Config, admin_token

CODE = (".py", ".cpp", ".h", ".json", ".jinja")


def identities(config: Config, variables: Mapping[str, str]) -> dict[str, str]:
    """The digest of every application that the configuration names: settings, secrets, releases and code."""
    common = (calmops.__version__, sorted(variables.items()), _files(_packages()))
    releases = {one.name: _files([app.release_folder(one)]) for one in config.models}
    found = {
        TELEMETRY_APP: _digest(common, app.telemetry_settings(config)),
        GATEWAY_APP: _digest(common, app.gateway_config(config), admin_token(config), app.telemetry_settings(config), releases),
    }
    for one in config.models:
        found[model_app(one.name)] = _digest(common, one, app.engine_settings(one), releases[one.name], config.failover, config.limits)
    return found


def _digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _packages() -> list[Path]:
    return [Path(package.__file__).parent for package in (calmops, actors) if package.__file__ is not None]


def _files(folders: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Name, size and time of every file of code or of a release; nothing is read."""
    found = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and (path.suffix in CODE or path.parent == folder):
                status = path.stat()
                found.append((str(path), status.st_size, status.st_mtime_ns))
    return found
