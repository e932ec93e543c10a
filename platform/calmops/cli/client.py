"""The platform's HTTP API as the command line sees it: one address, one optional operator's token, typed failures."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import typer

from calmops.foundation import config, paths
from calmops.foundation.errors import CalmopsError, ConfigError, UnavailableError

TIMEOUT_S = 30.0
STREAM_SILENCE_S = 60.0  # longest silence of a stream; the server sends a comment every 10 s
URL = typer.Option(
    None, "--url", help="Where the platform answers; default: what `calmops up` started, else http of calmops.yaml."
)
TOKEN_FILE = typer.Option(None, "--token-file", help="File with the operator's token, where the platform asks for one.")


class Target(NamedTuple):
    """Which platform to speak to, as given on the command line; None means what calmops.yaml says."""

    url: str | None = None
    token_file: Path | None = None


class Server:
    """One running platform. Every method raises CalmopsError with the server's own words."""

    def __init__(self, url: str, token: str | None = None, transport: httpx.MockTransport | None = None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._transport = transport  # a test's; None means the network
        try:
            self.http = httpx.Client(base_url=self.url, headers=self._headers, timeout=TIMEOUT_S, transport=transport)
        except httpx.InvalidURL as error:
            raise ConfigError(f"--url {url!r} isn't an address ({error}); give http://host:port") from error

    def many(self, connections: int) -> httpx.AsyncClient:
        """A client for that many calls at once; the caller closes it."""
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        return httpx.AsyncClient(
            base_url=self.url, headers=self._headers, timeout=httpx.Timeout(TIMEOUT_S, read=STREAM_SILENCE_S),
            limits=limits, transport=self._transport,
        )  # fmt: skip

    def default_model(self) -> str:
        """The first model that the platform serves."""
        models = self.get("/v1/models")["data"]
        if not models:
            raise UnavailableError(f"{self.url} serves no model; `calmops status` shows what is up")
        return str(models[0]["id"])

    def get(self, path: str) -> Any:
        """The JSON body of a GET."""
        return self._call("GET", path).json()

    def post(self, path: str, body: Any = None, params: dict[str, str] | None = None) -> Any:
        """The JSON body of a POST."""
        return self._call("POST", path, body, params).json()

    def text(self, path: str) -> str:
        """The plain body of a GET."""
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
    """Open the platform that the command line or calmops.yaml names."""
    loaded = config.load()
    return Server(target.url or _running() or config.api_url(loaded), _token(target, loaded))


def _running() -> str | None:
    """Where the platform answers that `calmops up` left running here; None if there is no record of one."""
    try:
        record = json.loads((paths.home() / "run" / "cluster.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(record["url"])


def unreachable(url: str, error: Exception) -> UnavailableError:
    """Nothing answers there."""
    return UnavailableError(f"{url} doesn't answer ({error}); `calmops up` starts the platform, --url names another")


def refusal(status: int, text: str) -> CalmopsError:
    """The server said no: its own message where its body is an OpenAI error object."""
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
    try:
        return target.token_file.read_text().strip()
    except OSError as error:
        raise ConfigError(f"--token-file: can't read {target.token_file}: {error.strerror}") from error
