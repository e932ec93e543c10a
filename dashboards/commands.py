"""Adds `calmops dashboards`, which generates and pushes dashboards, and `calmops alerts push`.

Knows the options of `generate` only; grafana/ knows those of the others.
"""

from typing import Annotated

import typer

from calmops.cli.generated_files import differing, tell, write
from calmops.cli.output import AS_JSON
from dashboards.grafana import push_commands
from dashboards.grafana.mark_command import register_mark


def commands(app: typer.Typer) -> None:
    """Add this package's commands to the command line."""
    group = typer.Typer(help="Generate Grafana's dashboards and push them to a Grafana.", no_args_is_help=True)
    group.command("generate")(generate)
    push_commands.register_dashboards(group)
    register_mark(group)
    app.add_typer(group, name="dashboards")
    alerts = typer.Typer(help="Push the alerts to a Grafana that notifies people.", no_args_is_help=True)
    alerts.callback()(_group)
    push_commands.register_alerts(alerts)
    app.add_typer(alerts, name="alerts")


def _group() -> None:
    """Keep `alerts` a group, although it has only one command."""


def generate(
    only_check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with code 1 if a file differs.")
    ] = False,
    as_json: bool = AS_JSON,
) -> None:
    """Write the dashboards' JSON files, which Grafana can import."""
    # Grafana's builders take a while to import.
    from dashboards.generate import SHIPPED, generated

    files = generated()
    changed = (differing if only_check else write)(files, SHIPPED)
    tell(files, SHIPPED, changed, only_check=only_check, as_json=as_json)
