"""The command's one wiring place: gathers every command, and turns a typed error into one message and an exit code.

Exit codes: 0 done; 1 it failed; 2 wrong usage or configuration; 3 a part is missing on this machine; 4 a model that
can't be served; 5 the platform can't be reached or has no healthy replica; 130 interrupted.
"""

import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import typer

import calmops
from calmops.cli.client import Connect, connect
from calmops.cli.commands import bench, chat, config, operator_commands, replay, setup, status, train
from calmops.foundation.errors import CalmopsError, SetupError

GROUP = "calmops.commands"
OUTER_PACKAGES = ("actors", "alerts", "chaos", "dashboards")
HELP = "Serve causal language models on a Ray cluster and show, token by token, how well it does."


def main() -> None:
    """Run the command line; never shows a traceback for an error that calmops raises on purpose."""
    try:
        refuse_intruders(_root())
        build()()
    except CalmopsError as error:
        print(f"calmops: {error}", file=sys.stderr)  # noqa: T201  the one place that speaks of errors
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def build(connector: Connect = connect) -> typer.Typer:
    """Every command. ``connector`` opens the platform's HTTP API; tests bring their own."""
    app = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)

    @app.callback(invoke_without_command=True)
    def version(show: bool = typer.Option(False, "--version", help="Print the version and end.")) -> None:
        if show:
            typer.echo(calmops.__version__)
            raise typer.Exit

    for module in (config, setup, train):
        module.register(app)
    for talker in (status, operator_commands, chat, replay, bench):
        talker.register(app, connector)
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        point.load()(app)
    return app


def refuse_intruders(root: Path) -> None:
    """Our outer packages have plain names: say so when a stranger's package stands in front of one of them."""
    for name in OUTER_PACKAGES:
        ours = root / name / "__init__.py"
        if not ours.is_file():
            continue
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found != ours.resolve():
            where = found or "a folder without __init__.py"
            raise SetupError(f"`import {name}` finds {where}, not {ours}; remove or rename that package, or move away")


def _root() -> Path:
    """Where the outer packages lie: beside calmops in a wheel, one folder up in a checkout."""
    beside = Path(calmops.__file__).resolve().parent.parent
    return beside.parent if beside.name == "platform" else beside


if __name__ == "__main__":
    main()
