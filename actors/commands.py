"""Holds `calmops up` and `calmops down`, the commands that need Ray. The CLI finds them through the entry point."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from actors.launch.ray_token import own_cluster
from calmops.foundation import config as configuration
from calmops.foundation.config import Config
from calmops.foundation.config_sections import GrafanaConfig
from calmops.objectives.promises.prices import read_prices
from calmops.objectives.promises_folder import read_folder

MARK_S = 20.0  # how long Grafana may take to mark a deploy
Say = Callable[[str], None]

CONFIG_HELP = "Configuration file. Default: $CALMOPS_CONFIG, else ./calmops.yaml, else the shipped model."
WITH_HELP = "Services to start beside the platform, with commas between: kafka, prometheus (with Alertmanager)."
CONFIG = Annotated[Path | None, typer.Option("--config", "-c", help=CONFIG_HELP)]
WITH = Annotated[str, typer.Option("--with", help=WITH_HELP)]
ADDRESS = Annotated[str | None, typer.Option(help="Join this Ray cluster instead of starting one.")]
AS_JSON = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def commands(app: typer.Typer) -> None:
    """Add this package's commands."""
    app.command("up")(up)
    app.command("down")(down)


def up(config: CONFIG = None, with_: WITH = "", address: ADDRESS = None, as_json: AS_JSON = False) -> None:
    """Serve the models that calmops.yaml configures.

    Returns once each model has decoded a token.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is None:
        os.environ.pop("RAY_AUTH_TOKEN", None)  # Ray would prefer it
        os.environ.update(own_cluster())  # before Ray is imported; on somebody else's cluster Ray's own settings count
    logging.getLogger("ray").setLevel(logging.ERROR)
    console = Console(stderr=True)
    started_s = time.monotonic()
    with console.status("calmops is starting") as status:

        def say(line: str) -> None:
            console.print(f"[dim]{time.monotonic() - started_s:6.1f} s[/dim]  {line}")
            status.update(line)

        from actors.launch import local_ray  # Ray is imported behind the settings above
        from calmops.local_services import services

        settings = configuration.load(config)
        if address is None:
            local_ray.refuse_another_address(settings)
        # What is wrong with these files is reported now, before anything starts.
        read_folder(Path(settings.objectives.path) if settings.objectives.path else None)
        if settings.objectives.prices_file:
            read_prices(Path(settings.objectives.prices_file))
        with services.started(settings, with_, say) as started:
            result = _up(started.config, address, say) | {"services": started.addresses}
    result["seconds"] = round(time.monotonic() - started_s, 1)
    if as_json:
        typer.echo(json.dumps(result))
        return
    console.print(
        f"\n[bold green]calmops serves[/bold green] {', '.join(result['models'])} at [bold]{result['url']}/v1[/bold]"
    )
    url = result["url"]
    console.print(f"console  {url}/console\nmetrics  {url}/metrics\nstate    {result['home']}\nstop it  calmops down")
    for name, where in result["services"].items():
        console.print(f"{name}  {where}")


def down(as_json: AS_JSON = False) -> None:
    """End what `calmops up` started, and nothing else."""
    from actors.launch import local_ray
    from calmops.local_services import services

    was_running = local_ray.stop()
    ended = services.stop_all()
    if as_json:
        typer.echo(json.dumps({"was_running": was_running, "services_ended": ended}))
    else:
        typer.echo("calmops is down" if was_running or ended else "calmops wasn't running; nothing to end")


def _up(config: Config, address: str | None, say: Say) -> dict[str, Any]:
    from actors.launch import deploy, local_ray
    from calmops.foundation import paths

    record = local_ray.running()
    if address is not None:
        say(f"joining the Ray cluster at {address}")
    elif record is not None:
        say(f"a cluster of an earlier `up` runs at {record['address']}: redeploying onto it")
    else:
        say("starting Ray")
        record = local_ray.start(config)
    try:
        local_ray.connect(address or str(record["address"] if record else "auto"))
        deploy.start_serve(config, say)
        deployed = deploy.deploy(config, say)
        say("decoding a first token of each model")
        url = deploy.await_ready(config)
    except BaseException:
        local_ray.disconnect()
        if address is None:
            local_ray.stop()
        raise
    if config.grafana is not None and deployed:
        _mark(config.grafana, f"deployed: {', '.join(deployed)}", say)
    return {"url": url, "models": [model.name for model in config.models], "home": str(paths.home())}


def _mark(grafana: GrafanaConfig, text: str, say: Say) -> None:
    """Mark the deploy in Grafana by the command for it. A Grafana that can't be reached costs a warning, no more."""
    token = [] if grafana.token_file is None else ["--token-file", grafana.token_file]
    mark = ["dashboards", "mark", "deploy", text, "--url", grafana.url, *token]
    command = [sys.executable, "-m", "calmops.cli.main", *mark]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=MARK_S, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        say(f"warning: {grafana.url} didn't take the mark of this deploy within {MARK_S:g} s")
        return
    if done.returncode:
        say(f"warning: the deploy isn't marked: {done.stderr.strip()[-500:]}")
