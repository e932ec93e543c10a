"""The operator's commands: live requests, cancel, drain, disable and enable; each one HTTP call."""

from pathlib import Path
from urllib.parse import quote

import typer

from calmops.cli.client import TOKEN_FILE, URL, Connect, Target
from calmops.cli.output import AS_JSON, print_json, print_table, table_of


def register(app: typer.Typer, connect: Connect) -> None:
    """Add the commands."""

    def act(target: Target, path: str, said: str, as_json: bool) -> None:
        answer = connect(target).post(path)
        if as_json:
            print_json(answer)
        else:
            typer.echo(said)

    @app.command()
    def requests(url: str | None = URL, token_file: Path | None = TOKEN_FILE, as_json: bool = AS_JSON) -> None:
        """List the live requests of every gateway."""
        answer = connect(Target(url, token_file)).get("/admin/requests")
        rows = answer["requests"]
        if as_json:
            print_json(answer)
        elif rows:
            print_table(table_of(rows, list(rows[0])))
        else:
            typer.echo("no live requests")
        silent = answer.get("unanswered", [])
        if silent:
            typer.echo(f"incomplete: no answer in time from gateway {', '.join(silent)}; ask again", err=True)

    @app.command()
    def cancel(
        request_id: str, url: str | None = URL, token_file: Path | None = TOKEN_FILE, as_json: bool = AS_JSON
    ) -> None:
        """End one live request; its client gets an error event."""
        path = f"/admin/requests/{quote(request_id, safe='')}/cancel"
        act(Target(url, token_file), path, f"{request_id}: cancelled", as_json)

    @app.command()
    def drain(
        replica_id: str,
        undo: bool = typer.Option(False, "--undo", help="Let it take new requests again."),
        url: str | None = URL,
        token_file: Path | None = TOKEN_FILE,
        as_json: bool = AS_JSON,
    ) -> None:
        """Send nothing new to a replica; what runs there finishes. `calmops status` lists replica ids."""
        path = f"/admin/replicas/{quote(replica_id, safe='')}/drain{'?undo=true' if undo else ''}"
        said = "takes new requests again" if undo else "draining"
        act(Target(url, token_file), path, f"{replica_id}: {said}", as_json)

    @app.command()
    def disable(
        model: str,
        undo: bool = typer.Option(False, "--undo", help="Take requests again (the same as `calmops enable`)."),
        url: str | None = URL,
        token_file: Path | None = TOKEN_FILE,
        as_json: bool = AS_JSON,
    ) -> None:
        """Refuse new requests for a model (503); what runs finishes."""
        verb = "enable" if undo else "disable"
        path = f"/admin/models/{quote(model, safe='')}/{verb}"
        act(Target(url, token_file), path, f"{model}: {verb}d", as_json)

    @app.command()
    def enable(
        model: str, url: str | None = URL, token_file: Path | None = TOKEN_FILE, as_json: bool = AS_JSON
    ) -> None:
        """Take requests for a model again."""
        act(Target(url, token_file), f"/admin/models/{quote(model, safe='')}/enable", f"{model}: enabled", as_json)
