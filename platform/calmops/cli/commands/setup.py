"""`calmops setup`: builds and fetches ahead what a start would otherwise need. The only command that downloads."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from enum import StrEnum
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import typer

import calmops
from calmops.cli.output import AS_JSON, print_json, progress
from calmops.foundation import paths
from calmops.foundation.errors import SetupError

INSTALL_TIMEOUT_S = 1800


class Part(StrEnum):
    """What can be set up."""

    engine = "engine"
    kafka = "kafka"
    prometheus = "prometheus"
    bench = "bench"


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def setup(
        part: Part = typer.Argument(
            Part.engine,
            help="engine: compile; kafka: a local broker; prometheus: a local one, with Alertmanager; bench: engines to compare",
        ),
        as_json: bool = AS_JSON,
    ) -> None:
        """Compile the engine's parts (nothing is downloaded), or fetch what runs beside it: a Kafka broker, Prometheus, the peers of `make bench`."""
        doing, act = ACTIONS[part]
        with progress(f"{doing} (into {paths.home()})"):
            result = act()
        if as_json:
            print_json({"part": part.value, "ready": True, "where": result})
        else:
            typer.echo(f"{part.value}: ready{f' ({result})' if result else ''}")


def _engine() -> str | None:
    """Compile DeepSpeed's shared-memory op and our CPU kernel, each under a lock, into the state folder."""
    _function("calmops.engine.tensor_parallel", "prebuild")()
    return _said(_function("calmops.engine.kernel.build", "prebuild")())


def _kafka() -> str | None:
    return _said(_function("calmops.local_services.kafka", "install")(paths.folder("tools") / "kafka"))


def _prometheus() -> str | None:
    return _said(
        _function("calmops.local_services.prometheus_programs", "install")(paths.folder("tools") / "prometheus")
    )


def _bench() -> str | None:
    """Install what the extra `bench` names, in the versions that are pinned, into the running interpreter's environment."""
    wanted = [
        line.split(";")[0].strip() for line in requires("calmops") or [] if "extra ==" in line and "bench" in line
    ]
    if not wanted:
        raise SetupError(
            "calmops isn't installed as a package here; run `make install` in its checkout, then this again"
        )
    command = [sys.executable, "-m", "pip", "install", "-c", str(_constraints()), *wanted]
    done = subprocess.run(command, timeout=INSTALL_TIMEOUT_S, check=False, stdout=sys.stderr)
    if done.returncode != 0:
        raise SetupError(f"pip ended with {done.returncode} (its words are above); `{' '.join(command)}` tries again")
    return ", ".join(wanted)


def _constraints() -> Path:
    """The pinned versions: beside the sources in a checkout, inside the package in a wheel."""
    package = Path(calmops.__file__).parent
    found = [
        folder / "constraints.txt" for folder in (package, package.parents[1]) if (folder / "constraints.txt").is_file()
    ]
    if not found:
        raise SetupError("constraints.txt did not come with this installation of calmops; install it again")
    return found[0]


def _function(module: str, name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def _said(value: Any) -> str | None:
    return None if value is None else str(value)


ACTIONS: dict[Part, tuple[str, Callable[[], str | None]]] = {
    Part.engine: ("Compiling DeepSpeed's shared-memory op", _engine),
    Part.kafka: ("Fetching and checking a local Kafka broker", _kafka),
    Part.prometheus: ("Fetching Prometheus and Alertmanager", _prometheus),
    Part.bench: ("Installing the engines to compare with", _bench),
}
