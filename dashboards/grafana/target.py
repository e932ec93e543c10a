"""Decides which Grafana a command means, and with which token: the options that several commands share.

--url or GRAFANA_URL names Grafana. Its token comes from GRAFANA_TOKEN or a file, never from the command line, where
every process list and shell history would show it. Knows nothing of what is sent there.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from calmops.foundation.errors import ConfigError
from calmops.foundation.secret_file import first_line

if TYPE_CHECKING:
    from dashboards.grafana.client import Grafana


def _refuse_typed_token(context: typer.Context, token: str | None) -> str | None:
    """Refuse a token that was typed: the hidden option exists only to read the environment variable."""
    source = context.get_parameter_source("token")
    if source is not None and source.name == "COMMANDLINE":
        remedy = "set GRAFANA_TOKEN or give --token-file, and make a new token if this one works"
        raise ConfigError(f"--token: a token isn't given on the command line, where others can read it; {remedy}")
    return token


URL = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="GRAFANA_URL",
        help="Grafana's address, http://host:3000, with the path that it is served under.",
    ),
]
TOKEN = Annotated[
    str | None, typer.Option("--token", envvar="GRAFANA_TOKEN", hidden=True, callback=_refuse_typed_token)
]
TOKEN_FILE = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help="File whose first line is a service account's token. Default: the variable GRAFANA_TOKEN.",
    ),
]


def grafana_at(url: str | None, token: str | None, token_file: Path | None) -> "Grafana":
    """Return that Grafana once it has answered. Raises ConfigError on a bad address or token, or Grafana's errors."""
    if not url:
        raise ConfigError("no Grafana is named; give --url http://host:3000, or set GRAFANA_URL")
    refuse_bad_address("--url", url)
    secret = first_line(token_file, "--token-file") if token_file is not None else (token or "").strip()
    if not secret:
        raise ConfigError(
            "no token is given; "
            "set GRAFANA_TOKEN to a Grafana service account's token, or name its file with --token-file"
        )
    if not (secret.isascii() and secret.isprintable() and " " not in secret):
        raise ConfigError("the token holds blanks or characters that no token has; copy it from Grafana again")
    from dashboards.grafana.client import Grafana

    return Grafana(url, secret)


def refuse_bad_address(option: str, url: str | None) -> None:
    """Refuse an address with a user, a password, ? or #: grafana-client would read some of them as settings."""
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
        raise ConfigError(f"{option} holds a name, a password, or something after ? or #; give the plain address")
