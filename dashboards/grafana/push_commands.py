"""Adds `calmops dashboards push` and `calmops alerts push`: plans the changes, sends them and reports them.

Grafana's client and builders are imported only when a command runs. Knows neither panels nor Grafana's API.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calmops.cli.output import AS_JSON, print_json
from calmops.foundation.errors import ConfigError
from dashboards.grafana.target import TOKEN, TOKEN_FILE, URL, grafana_at, refuse_bad_address
from dashboards.ownership import SOURCE_UID

if TYPE_CHECKING:
    from dashboards.grafana.client import Grafana
    from dashboards.grafana.diff import Change

ALERTS = Path(__file__).resolve().parents[2] / "alerts"
DONE = {"create": "created", "update": "updated", "remove": "removed"}

PROMETHEUS = Annotated[
    str | None,
    typer.Option(
        "--prometheus",
        help="Address at which Grafana reaches Prometheus. "
        f"With it, the data source {SOURCE_UID} is created or updated.",
    ),
]
SOURCE = Annotated[
    str | None,
    typer.Option("--source", help=f"Uid of the Prometheus data source that the rules query. Default: {SOURCE_UID}."),
]
FOLDER = Annotated[Path, typer.Option("--alerts", help="Folder of promises, with its generated/ files.")]
DRY_RUN = Annotated[bool, typer.Option("--dry-run", help="Show what differs; change nothing.")]


def register_dashboards(group: typer.Typer) -> None:
    """Add `push` to `calmops dashboards`."""

    @group.command("push")
    def push(
        url: URL = None,
        token: TOKEN = None,
        token_file: TOKEN_FILE = None,
        prometheus: PROMETHEUS = None,
        dry_run: DRY_RUN = False,
        as_json: bool = AS_JSON,
    ) -> None:
        """Update the dashboards in Grafana's folder `calmops`.

        A second push changes nothing. What calmops hasn't made is left alone.
        """
        import json

        from dashboards.generate import generated
        from dashboards.grafana.push import dashboard_changes

        refuse_bad_address("--prometheus", prometheus)
        grafana = grafana_at(url, token, token_file)
        boards = [json.loads(text) for text in generated().values()]
        state = grafana.dashboards_state([board["uid"] for board in boards])
        changes = dashboard_changes(state, boards, prometheus)
        _carry_out(grafana, changes, [], dry_run=dry_run, as_json=as_json)


def register_alerts(group: typer.Typer) -> None:
    """Add `push` to `calmops alerts`."""

    @group.command("push")
    def push(
        url: URL = None,
        token: TOKEN = None,
        token_file: TOKEN_FILE = None,
        prometheus: PROMETHEUS = None,
        source: SOURCE = None,
        folder: FOLDER = ALERTS,
        dry_run: DRY_RUN = False,
        as_json: bool = AS_JSON,
    ) -> None:
        """Update the alert rules, contact points and mute timings in Grafana.

        A second push changes nothing. What calmops hasn't made is left alone. Prometheus must have loaded the recording
        rules of the same generated/prometheus-rules.yaml. If that Prometheus also notifies an Alertmanager, people are
        notified twice: use one of the two.
        """
        from dashboards.grafana.alert_rules import grafana_groups
        from dashboards.grafana.alerts_folder import read_alerts
        from dashboards.grafana.contact_points import contact_points, mute_timings, single_model_notes
        from dashboards.grafana.push import WantedAlerts, alert_changes

        refuse_bad_address("--prometheus", prometheus)
        if prometheus is not None and source is not None:
            raise ConfigError(
                f"--prometheus creates the data source {SOURCE_UID} and --source names another; give one of them"
            )
        source = source or SOURCE_UID
        alerts, now = read_alerts(folder), datetime.now(UTC)
        mutes = mute_timings(alerts.announced, now)
        groups = grafana_groups(alerts, source, [one["name"] for one in mutes])
        wanted = WantedAlerts(groups, contact_points(alerts.receivers), mutes)
        grafana = grafana_at(url, token, token_file)
        state = grafana.alerts_state([group.name for group in groups])
        changes = alert_changes(state, wanted, prometheus, source)
        _carry_out(grafana, changes, single_model_notes(alerts.announced, now), dry_run=dry_run, as_json=as_json)


def _carry_out(
    grafana: "Grafana", changes: Sequence["Change"], notes: Sequence[str], *, dry_run: bool, as_json: bool
) -> None:
    """Send each change and report it once it is sent; a dry run only reports what would change."""
    due = [change for change in changes if change.action != "same"]
    for change in due:
        if not dry_run:
            grafana.send(change)
        if not as_json:
            typer.echo(f"{'would be ' if dry_run else ''}{DONE[change.action]}: {change.kind} {change.name}")
            if dry_run and change.diff:
                typer.echo(change.diff)
    if as_json:
        rows = [{"kind": one.kind, "name": one.name, "action": one.action, "diff": one.diff} for one in changes]
        print_json({"url": grafana.url, "dry_run": dry_run, "changed": len(due), "changes": rows, "notes": list(notes)})
        return
    for note in notes:
        typer.echo(note)
    if not due:
        typer.echo(f"all {len(changes)} things in {grafana.url} are as they should be")
    else:
        typer.echo(f"{len(due)} of {len(changes)} things {'differ' if dry_run else 'changed'} in {grafana.url}")
