"""Adds `calmops dashboards mark`, which writes a deploy or a game day into Grafana for our dashboards to show.

Knows no panel: every dashboard of ours shows marks by their tags.
"""

from datetime import UTC, datetime
from typing import Annotated

import typer

from calmops.cli.output import AS_JSON, print_json
from calmops.foundation.errors import ConfigError
from dashboards.grafana.target import TOKEN, TOKEN_FILE, URL, grafana_at
from dashboards.ownership import MARKS

SINCE = Annotated[
    str | None,
    typer.Option("--from", help="When it began, RFC 3339 with a time zone: 2026-11-26T14:00:00Z. Default: now."),
]
UNTIL = Annotated[
    str | None, typer.Option("--to", help="When it ended, RFC 3339 with a time zone. Default: the mark is one moment.")
]


def register_mark(group: typer.Typer) -> None:
    """Add `mark` to `calmops dashboards`."""

    @group.command("mark")
    def mark(
        kind: Annotated[str, typer.Argument(help=f"Kind of mark: {' or '.join(MARKS)}.")],
        text: Annotated[str, typer.Argument(help="Text that people read when they point at the mark.")],
        since: SINCE = None,
        until: UNTIL = None,
        url: URL = None,
        token: TOKEN = None,
        token_file: TOKEN_FILE = None,
        as_json: bool = AS_JSON,
    ) -> None:
        """Mark a deploy or a game day in Grafana.

        `calmops up` marks its deploys itself if calmops.yaml names a Grafana.
        """
        if kind not in MARKS:
            raise ConfigError(f"{kind!r} is no kind of mark; give one of: {', '.join(MARKS)}")
        if not text.strip():
            raise ConfigError("the text of the mark is empty; say what happened")
        begins, ends = _moment("--from", since) or datetime.now(UTC), _moment("--to", until)
        if ends is not None and ends < begins:
            raise ConfigError(f"--to {ends.isoformat()} lies before {begins.isoformat()}, where it begins")
        grafana = grafana_at(url, token, token_file)
        grafana.mark(kind, text, _ms(begins), None if ends is None else _ms(ends))
        if as_json:
            span = {"from": begins.isoformat(), "to": ends and ends.isoformat()}
            print_json({"url": grafana.url, "kind": kind, "text": text, **span})
        else:
            typer.echo(f"marked in {grafana.url}: {kind}: {text}")


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigError(f"{option} {text!r} isn't a moment with a time zone; give it as 2026-11-26T14:00:00Z")
    return moment


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
