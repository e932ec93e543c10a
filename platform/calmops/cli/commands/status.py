"""`calmops status` shows gangs and ranks from the operator API, and rates and percentiles from /metrics."""

import time
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from calmops.cli.client import TOKEN_FILE, URL, Connect, Server, Target
from calmops.cli.metrics_reading import ModelFigures, Reading, figures, read
from calmops.cli.output import AS_JSON, print_json, shown, table_of

GANG_COLUMNS = (
    "model", "replica_id", "shard", "node", "tp", "pids", "state", "step", "heard_ms_ago", "running", "waiting",
    "kv_used", "tokens_in_flight",
)  # fmt: skip
FIGURE_COLUMNS = ModelFigures._fields
LIVE = typer.Option(False, "--live", "-l", help="Update the tables until Ctrl-C.")
WINDOW_S = typer.Option(1.0, "--window-s", min=0.1, max=60.0, help="Seconds over which rates are measured.")


def register(app: typer.Typer, connect: Connect) -> None:
    """Add the command."""

    @app.command()
    def status(
        live: bool = LIVE,
        window_s: float = WINDOW_S,
        url: str | None = URL,
        token_file: Path | None = TOKEN_FILE,
        as_json: bool = AS_JSON,
    ) -> None:
        """Show what runs and how fast it is.

        Lists each replica with its gang of ranks, and for each model tokens per second, time to first token and
        inter-token latency.
        """
        server = connect(Target(url, token_file))
        if as_json:
            inventory, lines = _look(server, read(server.text("/metrics")), window_s)[:2]
            print_json({**inventory, "figures": [line._asdict() for line in lines]})
        elif live:
            _watch(server, window_s)
        else:
            inventory, lines = _look(server, read(server.text("/metrics")), window_s)[:2]
            console = Console()
            wide = console if console.is_terminal else Console(width=200)
            wide.print(picture(server.url, inventory, lines))


def picture(url: str, inventory: dict[str, Any], lines: list[ModelFigures]) -> RenderableType:
    """Return both tables, followed by the counts."""
    gangs = [_row(gang) for gang in inventory.get("gangs", [])]
    disabled = [model["name"] for model in inventory.get("models", []) if model.get("disabled")]
    notes = [f"{len(inventory.get('gateways', []))} gateway(s)", f"{inventory.get('migrations', 0)} migration(s)"]
    notes += [f"disabled: {', '.join(disabled)}"] if disabled else []
    silent = inventory.get("unanswered", [])
    notes += [f"incomplete, no answer from {', '.join(silent)}"] if silent else []
    return Group(
        Text(f"calmops at {url}"),
        table_of(gangs, GANG_COLUMNS) if gangs else Text("no gang is up"),
        table_of([line._asdict() for line in lines], FIGURE_COLUMNS) if lines else Text("no tokens counted yet"),
        Text(" · ".join(notes)),
    )


def _watch(server: Server, window_s: float) -> None:
    before = read(server.text("/metrics"))
    with Live(Text("measuring ..."), console=Console(), screen=False, auto_refresh=False) as screen:
        while True:
            inventory, lines, before = _look(server, before, window_s)
            screen.update(picture(server.url, inventory, lines), refresh=True)


def _look(server: Server, before: Reading, window_s: float) -> tuple[dict[str, Any], list[ModelFigures], Reading]:
    began_ns = time.monotonic_ns()
    time.sleep(window_s)
    after = read(server.text("/metrics"))
    elapsed_s = (time.monotonic_ns() - began_ns) / 1e9
    inventory: dict[str, Any] = server.get("/admin/inventory")
    return inventory, figures(before, after, elapsed_s), after


def _row(gang: dict[str, Any]) -> dict[str, Any]:
    total = gang.get("kv_blocks_total")
    return {
        **gang,
        "node": str(gang.get("node_id", ""))[:8],
        "pids": [rank.get("pid") for rank in gang.get("ranks", [])],
        "state": "draining" if gang.get("draining") else "serving" if gang.get("linked") else "not linked",
        "kv_used": f"{shown(gang.get('kv_blocks_used'))}/{shown(total)}",
    }
