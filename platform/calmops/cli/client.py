"""The command line calls the platform's HTTP API at one address, with an optional token and with typed errors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import typer

from calmops.foundation import config, paths
from calmops.foundation.errors import CalmopsError, ConfigError, UnavailableError
from calmops.foundation.secret_file import first_line

TIMEOUT_S = 30.0
STREAM_SILENCE_S = 60.0  # longest silence of a stream; the server sends a comment every 10 s
URL = typer.Option(
    None, "--url", help="The platform's address, http://host:port. Default: the one that `calmops up` started here, "
    "else the `http` section of calmops.yaml.",
)  # fmt: skip
TOKEN_FILE = typer.Option(
    None, "--token-file", help="File whose first line is the operator's token. Default: $CALMOPS_ADMIN_TOKEN, else "
    "http.admin_token_file of calmops.yaml.",
)  # fmt: skip


class Target(NamedTuple):
    """Names the platform to call, as given on the command line; None means what calmops.yaml says."""

    url: str | None = None
    token_file: Path | None = None


class Server:
    """Calls one running platform. Every method raises CalmopsError with the server's own words."""

    def __init__(self, url: str, token: str | None = None, transport: httpx.MockTransport | None = None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._transport = transport  # tests bring one; None means the network
        try:
            self.http = httpx.Client(base_url=self.url, headers=self._headers, timeout=TIMEOUT_S, transport=transport)
        except httpx.InvalidURL as error:
            raise ConfigError(f"--url {url!r} isn't an address ({error}); give http://host:port") from error

    def async_client(self, connections: int) -> httpx.AsyncClient:
        """Return a client that makes up to ``connections`` calls at once; the caller closes it."""
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        return httpx.AsyncClient(
            base_url=self.url, headers=self._headers, timeout=httpx.Timeout(TIMEOUT_S, read=STREAM_SILENCE_S),
            limits=limits, transport=self._transport,
        )  # fmt: skip

    def default_model(self) -> str:
        """Return the name of the first model that the platform serves."""
        models = self.get("/v1/models")["data"]
        if not models:
            raise UnavailableError(f"{self.url} serves no model; `calmops status` shows what is up")
        return str(models[0]["id"])

    def get(self, path: str) -> Any:
        """Send a GET and return its answer's JSON body."""
        return self._call("GET", path).json()

    def post(self, path: str, body: Any = None, params: dict[str, str] | None = None) -> Any:
        """Send a POST and return its answer's JSON body."""
        return self._call("POST", path, body, params).json()

    def text(self, path: str) -> str:
        """Send a GET and return its answer's plain body."""
        return self._call("GET", path).text

    def _call(self, method: str, path: str, body: Any = None, params: dict[str, str] | None = None) -> httpx.Response:
        try:
            response = self.http.request(method, path, json=body, params=params)
        except httpx.UnsupportedProtocol as error:
            raise ConfigError(f"--url {self.url!r} isn't an address ({error}); give http://host:port") from error
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error
        if response.is_error:
            raise refusal(response.status_code, response.text)
        return response


Connect = Callable[[Target], Server]


def connect(target: Target) -> Server:
    """Return a client of the platform that the command line or calmops.yaml names."""
    loaded = config.load()
    return Server(target.url or _started_url() or config.api_url(loaded), _token(target, loaded))


def _started_url() -> str | None:
    """Return the address of the platform that `calmops up` left running here; None if there is no record of one."""
    try:
        record = json.loads((paths.home() / "run" / "cluster.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(record["url"])


def unreachable(url: str, error: Exception) -> UnavailableError:
    """Return the error for an address at which nothing answers."""
    return UnavailableError(f"{url} doesn't answer ({error}); `calmops up` starts the platform, --url names another")


def refusal(status: int, text: str) -> CalmopsError:
    """Return the error for a refused call: the server's own message if its body is an OpenAI error object."""
    try:
        message = str(httpx.Response(status, text=text).json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = text.strip()[:200] or "no reason given"
    if status == UnavailableError.status:
        return UnavailableError(message)
    remedy = "; name the file with --token-file" if status in (401, 403) else ""
    return CalmopsError(f"the platform answered {status}: {message}{remedy}")


def _token(target: Target, loaded: config.Config) -> str | None:
    if target.token_file is None:
        return config.admin_token(loaded)
    return first_line(target.token_file, "--token-file")
