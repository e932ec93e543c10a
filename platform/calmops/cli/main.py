"""The one wiring place of the command line gathers every command and turns an error into a message and an exit code.

Exit codes: 0 done; 1 failed; 2 wrong usage or configuration; 3 a part is missing on this machine; 4 a model can't be
served; 5 the platform can't be reached or has no healthy replica; 130 interrupted.
"""

import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import typer

import calmops
from calmops.cli.client import Connect, connect
from calmops.cli.commands import bench, chat, config, operator_commands, pin, replay, setup, status, train
from calmops.foundation.errors import CalmopsError, SetupError

GROUP = "calmops.commands"
OUTER_PACKAGES = ("actors", "alerts", "chaos", "dashboards")
HELP = "Serve causal language models on a Ray cluster and show, token by token, how well it does."


def main() -> None:
    """Run the command line. An error that calmops raises on purpose never shows a traceback."""
    try:
        refuse_foreign_packages(_root())
        build()()
    except CalmopsError as error:
        print(f"calmops: {error}", file=sys.stderr)  # noqa: T201  the one place that prints errors
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def build(connector: Connect = connect) -> typer.Typer:
    """Return the application with every command. ``connector`` opens the platform's HTTP API; tests bring their own."""
    app = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)

    @app.callback(invoke_without_command=True)
    def version(show: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
        if show:
            typer.echo(calmops.__version__)
            raise typer.Exit

    for module in (config, setup, pin, train):
        module.register(app)
    for client in (status, operator_commands, chat, replay, bench):
        client.register(app, connector)
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        point.load()(app)
    return app


def refuse_foreign_packages(root: Path) -> None:
    """Raise SetupError if Python would import a foreign package in place of one of our outer packages.

    Those have plain names, which others may have chosen too.
    """
    for name in OUTER_PACKAGES:
        ours = root / name / "__init__.py"
        if not ours.is_file():
            continue
        spec = find_spec(name)
        actual = Path(spec.origin).resolve() if spec and spec.origin else None
        if actual != ours.resolve():
            where = actual or "a folder without __init__.py"
            raise SetupError(f"`import {name}` finds {where}, not {ours}; remove or rename that package, or move away")


def _root() -> Path:
    """Return where the outer packages lie: beside calmops in a wheel, one folder up in a checkout."""
    beside = Path(calmops.__file__).resolve().parent.parent
    return beside.parent if beside.name == "platform" else beside


if __name__ == "__main__":
    main()
