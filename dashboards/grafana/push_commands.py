"""`calmops dashboards push` and `calmops alerts push`: options to a plan, and the plan to what people and machines read.

Grafana's client and builders are imported when they are needed.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calmops.cli.output import AS_JSON, print_json
from calmops.foundation.errors import ConfigError
from dashboards.grafana.ownership import SOURCE_UID
from dashboards.grafana.target import TOKEN, TOKEN_FILE, URL, grafana_at, refuse_wrong

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
        f"With it, the data source {SOURCE_UID} is made or corrected.",
    ),
]
SOURCE = Annotated[
    str | None,
    typer.Option("--source", help=f"Uid of the Prometheus data source that the rules query. Default: {SOURCE_UID}."),
]
DRY_RUN = Annotated[bool, typer.Option("--dry-run", help="Show what differs; change nothing.")]


def register_dashboards(group: typer.Typer) -> None:
    """Add `push` to `calmops dashboards`."""

    @group.command("push")
    def push(
        url: URL = None, token: TOKEN = None, token_file: TOKEN_FILE = None, prometheus: PROMETHEUS = None,
        dry_run: DRY_RUN = False, as_json: bool = AS_JSON,
    ) -> None:  # fmt: skip
        """Update the dashboards in Grafana's folder `calmops`.

        A second push changes nothing. What calmops hasn't made is left alone.
        """
        import json

        from dashboards.generate import generated
        from dashboards.grafana.push import dashboard_changes

        refuse_wrong("--prometheus", prometheus)
        grafana = grafana_at(url, token, token_file)
        boards = [json.loads(text) for text in generated().values()]
        changes = dashboard_changes(grafana.kept_dashboards([board["uid"] for board in boards]), boards, prometheus)
        _carry_out(grafana, changes, [], dry_run=dry_run, as_json=as_json)


def register_alerts(group: typer.Typer) -> None:
    """Add `push` to `calmops alerts`."""

    @group.command("push")
    def push(
        url: URL = None, token: TOKEN = None, token_file: TOKEN_FILE = None, prometheus: PROMETHEUS = None,
        source: SOURCE = None,
        folder: Annotated[Path, typer.Option("--alerts", help="Folder of promises, with its generated/ files.")] = ALERTS,
        dry_run: DRY_RUN = False, as_json: bool = AS_JSON,
    ) -> None:  # fmt: skip
        """Update the alert rules, contact points and mute timings in Grafana.

        A second push changes nothing. What calmops hasn't made is left alone. Prometheus must have loaded the recording
        rules of the same generated/prometheus-rules.yaml. If that Prometheus also notifies an Alertmanager, people are
        notified twice: use one of the two.
        """
        from dashboards.grafana.alert_rules import grafana_groups
        from dashboards.grafana.alerts_folder import read_alerts
        from dashboards.grafana.contact_points import contact_points, left_to_rules, mute_timings
        from dashboards.grafana.push import Wanted, alert_changes

        refuse_wrong("--prometheus", prometheus)
        if prometheus is not None and source is not None:
            raise ConfigError(
                f"--prometheus makes the data source {SOURCE_UID} and --source names another; give one of them"
            )
        asked = source or SOURCE_UID
        alerts, now = read_alerts(folder), datetime.now(UTC)
        mutes = mute_timings(alerts.announced, now)
        groups = grafana_groups(alerts, asked, [one["name"] for one in mutes])
        wanted = Wanted(groups, contact_points(alerts.receivers), mutes)
        grafana = grafana_at(url, token, token_file)
        changes = alert_changes(grafana.kept_alerts([group.name for group in groups]), wanted, prometheus, asked)
        _carry_out(grafana, changes, left_to_rules(alerts.announced, now), dry_run=dry_run, as_json=as_json)


def _carry_out(
    grafana: "Grafana", changes: Sequence["Change"], notes: Sequence[str], *, dry_run: bool, as_json: bool
) -> None:
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
