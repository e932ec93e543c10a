"""`calmops dashboards push` and `calmops alerts push`: options to a plan, and the plan to what people and machines read.

Grafana is named by --url or GRAFANA_URL. Its token comes from GRAFANA_TOKEN or a file, never from the command line, where
every process list and shell history would show it. Grafana's client and builders are imported when they are needed.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from calmops.cli.output import AS_JSON, print_json
from calmops.foundation.errors import ConfigError
from dashboards.ours import SOURCE_UID

if TYPE_CHECKING:
    from dashboards.changes import Change
    from dashboards.grafana import Grafana

ALERTS = Path(__file__).resolve().parent.parent / "alerts"
DONE = {"create": "created", "update": "updated", "remove": "removed"}


def _never_typed(context: typer.Context, token: str | None) -> str | None:
    """The option stands for the variable; whoever types it is told."""
    source = context.get_parameter_source("token")
    if source is not None and source.name == "COMMANDLINE":
        remedy = "set GRAFANA_TOKEN or give --token-file, and make a new token if this one works"
        raise ConfigError(f"--token: a token isn't given on the command line, where others can read it; {remedy}")
    return token


URL = Annotated[
    str | None, typer.Option("--url", envvar="GRAFANA_URL", help="Grafana's address, with the path that it is served under: http://host:3000")
]
TOKEN = Annotated[str | None, typer.Option("--token", envvar="GRAFANA_TOKEN", hidden=True, callback=_never_typed)]
TOKEN_FILE = Annotated[
    Path | None, typer.Option("--token-file", help="file with a service account's token on its first line; default: the variable GRAFANA_TOKEN")
]
PROMETHEUS = Annotated[
    str | None,
    typer.Option("--prometheus", help=f"address at which Grafana reaches Prometheus; makes or mends the data source {SOURCE_UID}; default: none is touched"),
]
DRY_RUN = Annotated[bool, typer.Option("--dry-run", help="show what differs, change nothing, exit 0")]


def register_dashboards(group: typer.Typer) -> None:
    """Add `push` to `calmops dashboards`."""

    @group.command("push")
    def push(
        url: URL = None, token: TOKEN = None, token_file: TOKEN_FILE = None, prometheus: PROMETHEUS = None,
        dry_run: DRY_RUN = False, as_json: bool = AS_JSON,
    ) -> None:  # fmt: skip
        """Bring Grafana's folder `calmops` up to date with the dashboards; a second push changes nothing, and what isn't ours is left alone."""
        import json

        from dashboards.generating import generated
        from dashboards.pushing import dashboard_changes

        _refuse_wrong("--prometheus", prometheus)
        grafana = _grafana(url, token, token_file)
        boards = [json.loads(text) for text in generated().values()]
        changes = dashboard_changes(grafana.kept_dashboards([board["uid"] for board in boards]), boards, prometheus)
        _carry_out(grafana, changes, [], dry_run=dry_run, as_json=as_json)


def register_alerts(group: typer.Typer) -> None:
    """Add `push` to `calmops alerts`."""

    @group.command("push")
    def push(
        url: URL = None, token: TOKEN = None, token_file: TOKEN_FILE = None, prometheus: PROMETHEUS = None,
        source: Annotated[str | None, typer.Option("--source", help=f"uid of the Prometheus data source that rules ask; default: {SOURCE_UID}")] = None,
        folder: Annotated[Path, typer.Option("--alerts", help="folder of promises with its generated/ files")] = ALERTS,
        dry_run: DRY_RUN = False, as_json: bool = AS_JSON,
    ) -> None:  # fmt: skip
        """Bring rules, contact points and mute timings in Grafana up to date; a second push changes nothing, and what isn't ours is left alone.

        Prometheus must have loaded the recording rules of the same generated/prometheus-rules.yaml. If an Alertmanager is told
        by that Prometheus too, everybody is told twice: use one of them.
        """
        from dashboards.alert_rules import grafana_groups
        from dashboards.alerts_folder import read_alerts
        from dashboards.pushing import Wanted, alert_changes
        from dashboards.receiving import contact_points, left_to_rules, mute_timings

        _refuse_wrong("--prometheus", prometheus)
        if prometheus is not None and source is not None:
            raise ConfigError(f"--prometheus makes the data source {SOURCE_UID} and --source names another; give one of them")
        asked = source or SOURCE_UID
        alerts, now = read_alerts(folder), datetime.now(UTC)
        mutes = mute_timings(alerts.announced, now)
        groups = grafana_groups(alerts, asked, [one["name"] for one in mutes])
        wanted = Wanted(groups, contact_points(alerts.receivers), mutes)
        grafana = _grafana(url, token, token_file)
        changes = alert_changes(grafana.kept_alerts([group.name for group in groups]), wanted, prometheus, asked)
        _carry_out(grafana, changes, left_to_rules(alerts.announced, now), dry_run=dry_run, as_json=as_json)


def _grafana(url: str | None, token: str | None, token_file: Path | None) -> "Grafana":
    if not url:
        raise ConfigError("no Grafana is named; give --url http://host:3000, or set GRAFANA_URL")
    _refuse_wrong("--url", url)
    read = _read_token(token_file) if token_file is not None else (token or "").strip()
    if not read:
        raise ConfigError("no token is given; set GRAFANA_TOKEN to a Grafana service account's token, or name its file by --token-file")
    if not (read.isascii() and read.isprintable() and " " not in read):
        raise ConfigError("the token holds blanks or characters that no token has; copy it from Grafana again")
    from dashboards.grafana import Grafana

    return Grafana(url, read)


def _read_token(file: Path) -> str:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file: can't read {file}: {error}; write the token there, mode 600") from error
    if not lines or not lines[0].strip():
        raise ConfigError(f"--token-file: {file} is empty; write the token on its first line")
    return lines[0].strip()


def _refuse_wrong(option: str, url: str | None) -> None:
    """An address without password, question or mark: grafana-client would read some of them as settings."""
    if url is None:
        return
    try:
        parts = urlsplit(url)
        right = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise ConfigError(f"{option} {url!r} isn't an address; give http://host:port or https://host")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(f"{option} holds a name, a password, or something behind ? or #; give the plain address")


def _carry_out(grafana: "Grafana", changes: Sequence["Change"], notes: Sequence[str], *, dry_run: bool, as_json: bool) -> None:
    """Make what differs, each said once it is made; a dry run says what would be."""
    due = [change for change in changes if change.action != "same"]
    for change in due:
        if not dry_run:
            grafana.make(change)
        if not as_json:
            typer.echo(f"{'would be ' if dry_run else ''}{DONE[change.action]}: {change.kind} {change.name}")
            if dry_run and change.diff:
                typer.echo(change.diff)
    if as_json:
        told = [{"kind": one.kind, "name": one.name, "action": one.action, "diff": one.diff} for one in changes]
        print_json({"url": grafana.url, "dry_run": dry_run, "changed": len(due), "changes": told, "notes": list(notes)})
        return
    for note in notes:
        typer.echo(note)
    if not due:
        typer.echo(f"all {len(changes)} things in {grafana.url} are as they should be")
    else:
        typer.echo(f"{len(due)} of {len(changes)} things {'differ' if dry_run else 'changed'} in {grafana.url}")
