"""`calmops bench` puts load on a running platform and reports what its clients saw."""

import asyncio
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from calmops.cli.client import TOKEN_FILE, URL, Connect, Server, Target
from calmops.cli.load import Load, send
from calmops.cli.output import AS_JSON, print_json, print_table, table_of

REQUESTS = typer.Option(64, "--requests", "-n", min=1, max=1_000_000, help="Number of requests in all.")
CONCURRENCY = typer.Option(8, "--concurrency", "-c", min=1, max=4096, help="Number of requests at the same time.")
PROMPT_TOKENS = typer.Option(64, "--prompt-tokens", min=1, help="Length of each prompt, in words of about one token.")
MAX_TOKENS = typer.Option(64, "--max-tokens", min=1, help="Longest answer, in tokens.")
MODEL = typer.Option(None, "--model", "-m", help="Model to call. Default: the first that the platform serves.")
TEMPERATURE = typer.Option(1.0, "--temperature", min=0.0, max=2.0, help="Sampling temperature; 0: the likeliest token.")


def register(app: typer.Typer, connect: Connect) -> None:
    """Add the command."""

    @app.command()
    def bench(
        requests: int = REQUESTS,
        concurrency: int = CONCURRENCY,
        prompt_tokens: int = PROMPT_TOKENS,
        max_tokens: int = MAX_TOKENS,
        model: str | None = MODEL,
        temperature: float = TEMPERATURE,
        seed: int = typer.Option(0, "--seed", min=0, max=1_000_000, help="The same seed sends the same requests."),
        url: str | None = URL,
        token_file: Path | None = TOKEN_FILE,
        as_json: bool = AS_JSON,
    ) -> None:
        """Measure a running platform under load.

        Sends streamed completions of random words. Reports tokens per second, time to first token, inter-token latency
        and duration, all as the clients saw them. Exit code 1 means that a request failed.
        """
        server = connect(Target(url, token_file))
        served = model or server.default_model()
        load = Load(served, requests, concurrency, prompt_tokens, max_tokens, temperature, seed)
        report = _run(server, load)
        if as_json:
            print_json(report)
        else:
            _show(report)
        raise typer.Exit(1 if report["failed"] else 0)


def _run(server: Server, load: Load) -> dict[str, Any]:
    columns = (TextColumn("requests"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("requests", total=load.requests)
        return asyncio.run(send(server, load, lambda: bar.advance(task)))


def _show(report: dict[str, Any]) -> None:
    rows = [{"measure": name, **report[name]} for name in ("ttft", "inter_token", "duration")]
    print_table(table_of(rows, ["measure", "measured", "p50_ms", "p90_ms", "p99_ms", "max_ms"]))
    typer.echo(
        f"{report['completed']} completed, {report['failed']} failed in {report['elapsed_s']:.1f} s; "
        f"{report['tokens']} tokens, {report['tokens_per_s']:.1f} tok/s, {report['requests_per_s']:.2f} requests/s"
    )
    for error, count in report["errors"].items():
        typer.echo(f"{count} x {error}", err=True)
