"""The operator's commands are requests, cancel, drain, disable and enable; each makes one HTTP call."""

from pathlib import Path
from urllib.parse import quote

import typer

from calmops.cli.client import TOKEN_FILE, URL, Connect, Target
from calmops.cli.output import AS_JSON, print_json, print_table, table_of

REQUEST_ID = typer.Argument(help="Id of a live request; `calmops requests` lists them.")
REPLICA_ID = typer.Argument(help="Id of a replica; `calmops status` lists them.")
MODEL = typer.Argument(help="Name of a served model.")


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
        request_id: str = REQUEST_ID,
        url: str | None = URL,
        token_file: Path | None = TOKEN_FILE,
        as_json: bool = AS_JSON,
    ) -> None:
        """Cancel one live request; its client gets an error event."""
        path = f"/admin/requests/{quote(request_id, safe='')}/cancel"
        act(Target(url, token_file), path, f"{request_id}: cancelled", as_json)

    @app.command()
    def drain(
        replica_id: str = REPLICA_ID,
        undo: bool = typer.Option(False, "--undo", help="Send new requests to the replica again."),
        url: str | None = URL,
        token_file: Path | None = TOKEN_FILE,
        as_json: bool = AS_JSON,
    ) -> None:
        """Stop sending new requests to one replica.

        The requests that it runs finish.
        """
        path = f"/admin/replicas/{quote(replica_id, safe='')}/drain{'?undo=true' if undo else ''}"
        said = "takes new requests again" if undo else "draining"
        act(Target(url, token_file), path, f"{replica_id}: {said}", as_json)

    @app.command()
    def disable(
        model: str = MODEL,
        undo: bool = typer.Option(False, "--undo", help="Accept requests again, as `calmops enable` does."),
        url: str | None = URL,
        token_file: Path | None = TOKEN_FILE,
        as_json: bool = AS_JSON,
    ) -> None:
        """Refuse new requests for one model (HTTP 503).

        The requests that run finish.
        """
        verb = "enable" if undo else "disable"
        path = f"/admin/models/{quote(model, safe='')}/{verb}"
        act(Target(url, token_file), path, f"{model}: {verb}d", as_json)

    @app.command()
    def enable(
        model: str = MODEL, url: str | None = URL, token_file: Path | None = TOKEN_FILE, as_json: bool = AS_JSON
    ) -> None:
        """Accept requests for a disabled model again."""
        act(Target(url, token_file), f"/admin/models/{quote(model, safe='')}/enable", f"{model}: enabled", as_json)
