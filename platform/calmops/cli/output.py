"""People read tables and machines read the same facts as JSON, both on standard output.

Progress goes to standard error.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

AS_JSON = typer.Option(False, "--json", help="Print JSON instead of text for people.")


def print_json(value: Any) -> None:
    """Print one JSON document, indented, its keys in the given order."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(table: Table) -> None:
    """Print a table, 200 columns wide where standard output isn't a terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)


def table_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str | None = None) -> Table:
    """Return a table of the named columns; a value that a row lacks is shown as a dash."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        numeric = any(isinstance(row.get(column), int | float) for row in rows)
        table.add_column(column.replace("_", " "), justify="right" if numeric else "left", no_wrap=numeric)
    for row in rows:
        table.add_row(*(shown(row.get(column)) for column in columns))
    return table


def shown(value: Any) -> str:
    """Return a cell's text: None as a dash, reals with three figures, lists joined with commas."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, list | tuple):
        return ", ".join(shown(item) for item in value)
    return str(value)


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Show a spinner on standard error while the block runs; off a terminal, print the text once."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        console.print(what, highlight=False)
        yield
