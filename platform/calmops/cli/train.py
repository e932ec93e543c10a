"""`calmops train`: hands its arguments to the training part, which is loaded only then (it brings torch)."""

import importlib

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
        add_help_option=False,
    )
    def train(context: typer.Context) -> None:
        """Train a tokenizer and a small Llama-family model on a folder of text; `calmops train --help` lists the options."""
        code = importlib.import_module("calmops.training.train").main(context.args)
        raise typer.Exit(code or 0)
