"""`calmops config` checks a configuration file, shows every value in force and prints the JSON schema."""

from pathlib import Path

import typer
import yaml

from calmops.cli.output import AS_JSON, print_json
from calmops.foundation import config

FILE = typer.Option(None, "--config", "-c", help="Configuration file. Default: $CALMOPS_CONFIG, else ./calmops.yaml.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Check or show the configuration, calmops.yaml.", no_args_is_help=True)
    app.add_typer(group, name="config")

    @group.command()
    def check(path: Path | None = FILE, as_json: bool = AS_JSON) -> None:
        """Check a configuration file.

        Lists every problem with its line and remedy; exit code 2 means that there is one.
        """
        loaded = config.load(path)
        config.admin_token(loaded)
        config.kafka_password(loaded)
        source = str(config.find(path) or "no file: defaults")
        if as_json:
            print_json({"valid": True, "source": source, "models": [model.name for model in loaded.models]})
        else:
            typer.echo(f"{source}: valid; serves {', '.join(model.name for model in loaded.models)}")

    @group.command()
    def show(path: Path | None = FILE, as_json: bool = AS_JSON) -> None:
        """Print every setting in force, defaults included. Secrets are never shown."""
        tree = config.to_json(config.load(path))
        if as_json:
            print_json(tree)
        else:
            typer.echo(f"# from {config.find(path) or 'defaults (no file)'}")
            typer.echo(yaml.safe_dump(tree, sort_keys=False), nl=False)

    @group.command()
    def schema() -> None:
        """Print the JSON schema of calmops.yaml, for editors."""
        print_json(config.json_schema())
