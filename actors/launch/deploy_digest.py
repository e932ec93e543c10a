"""Makes one digest of what an application consists of: an application whose digest is the same isn't deployed again.

Serve restarts every replica of an application that it deploys, changed or not. A rollout of a model must restart
neither the gateway, whose streams it would cut in the end, nor the meter.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import actors
import calmops
from actors import app
from actors.cluster.app_names import GATEWAY_APP, TELEMETRY_APP, model_app
from calmops.foundation.config import Config, admin_token
from calmops.objectives.promises_folder import shipped

CODE = (".py", ".cpp", ".h", ".json", ".jinja", ".html", ".css", ".js")


def deploy_digests(config: Config, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the digest of every application that the configuration names: settings, secrets, releases and code."""
    common = (calmops.__version__, sorted(variables.items()), _files(_packages()))
    releases = {model.name: _files([app.release_folder(model)]) for model in config.models}
    digests = {
        GATEWAY_APP: _digest(
            common,
            app.gateway_config(config),
            admin_token(config),
            app.telemetry_settings(config),
            config.http.gateways,
            releases,
        ),
    }
    if config.telemetry:
        digests[TELEMETRY_APP] = _digest(
            common, app.telemetry_settings(config), app.meter_config(config), _promises(config)
        )
    for model in config.models:
        digests[model_app(model.name)] = _digest(
            common, model, app.engine_settings(model), releases[model.name], config.failover, config.limits
        )
    return digests


def _promises(config: Config) -> list[tuple[str, int, int]]:
    """Return the facts of the files that say what is promised and what it costs."""
    own = [Path(config.objectives.path)] if config.objectives.path else []
    prices = [Path(config.objectives.prices_file)] if config.objectives.prices_file else []
    files = [path for folder in (shipped(), *own) for path in sorted(folder.rglob("*.yaml"))]
    return [_facts(path) for path in (*files, *prices) if path.is_file()]


def _digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _packages() -> list[Path]:
    return [Path(package.__file__).parent for package in (calmops, actors) if package.__file__ is not None]


def _files(folders: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Return name, size and time of every file of code or of a release; no file is read."""
    return [
        _facts(path)
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (path.suffix in CODE or path.parent == folder)
    ]


def _facts(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns
