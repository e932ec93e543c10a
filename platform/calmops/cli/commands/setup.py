"""`calmops setup` builds and fetches parts that calmops needs on this machine. No other command downloads anything."""

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
    """Names the parts that can be set up."""

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
            help="engine: compile DeepSpeed's op and the CPU kernel; kafka: fetch a Kafka broker; "
            "prometheus: fetch Prometheus and Alertmanager; bench: install the engines for `make bench`.",
        ),
        as_json: bool = AS_JSON,
    ) -> None:
        """Build or fetch a part that calmops needs on this machine.

        Without an argument it compiles the engine's parts and downloads nothing. The other parts are downloaded.
        """
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
    return _text(_function("calmops.engine.kernel.build", "prebuild")())


def _kafka() -> str | None:
    return _text(_function("calmops.local_services.kafka", "install")(paths.folder("tools") / "kafka"))


def _prometheus() -> str | None:
    return _text(
        _function("calmops.local_services.prometheus_programs", "install")(paths.folder("tools") / "prometheus")
    )


def _bench() -> str | None:
    """Install the packages of the extra `bench`, in the pinned versions, into the running interpreter's environment."""
    packages = [
        line.split(";")[0].strip() for line in requires("calmops") or [] if "extra ==" in line and "bench" in line
    ]
    if not packages:
        raise SetupError(
            "calmops isn't installed as a package here; run `make install` in its checkout, then this again"
        )
    command = [sys.executable, "-m", "pip", "install", "-c", str(_constraints()), *packages]
    done = subprocess.run(command, timeout=INSTALL_TIMEOUT_S, check=False, stdout=sys.stderr)
    if done.returncode != 0:
        raise SetupError(f"pip ended with {done.returncode} (its output is above); `{' '.join(command)}` tries again")
    return ", ".join(packages)


def _constraints() -> Path:
    """Return the file of pinned versions: beside the sources in a checkout, inside the package in a wheel."""
    package = Path(calmops.__file__).parent
    for folder in (package, package.parents[1]):
        if (folder / "constraints.txt").is_file():
            return folder / "constraints.txt"
    raise SetupError("constraints.txt did not come with this installation of calmops; install it again")


def _function(module: str, name: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


ACTIONS: dict[Part, tuple[str, Callable[[], str | None]]] = {
    Part.engine: ("Compiling DeepSpeed's shared-memory op and the CPU kernel", _engine),
    Part.kafka: ("Fetching and checking a local Kafka broker", _kafka),
    Part.prometheus: ("Fetching Prometheus and Alertmanager", _prometheus),
    Part.bench: ("Installing the engines to compare with", _bench),
}
