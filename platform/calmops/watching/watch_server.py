"""Serves the meter's metrics and the console's state over HTTP, under a path that nobody can guess.

With several nodes the port is open to their network, and a client shows no token: the path is the secret, and only the
cluster's roster holds it.
"""

import secrets
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OPENMETRICS, TEXT = "application/openmetrics-text", "text/plain; version=0.0.4; charset=utf-8"


class WatchServer:
    """Serves ``metrics`` (its argument: whether in OpenMetrics) and ``state`` (a JSON object) on a port of its own."""

    def __init__(self, host: str, metrics: Callable[[bool], bytes], state: Callable[[], bytes]) -> None:
        secret = secrets.token_urlsafe()
        self._server = ThreadingHTTPServer((host, 0), _handler(secret, metrics, state))
        address, port = self._server.server_address[:2]
        self.url = f"http://{address!s}:{port}/{secret}/metrics"

    def serve(self) -> None:
        """Answer until ``close``."""
        self._server.serve_forever()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()


def _handler(secret: str, metrics: Callable[[bool], bytes], state: Callable[[], bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == f"/{secret}/metrics":
                openmetrics = OPENMETRICS in self.headers.get("Accept", "")
                body = metrics(openmetrics)
                kind = f"{OPENMETRICS}; version=1.0.0; charset=utf-8" if openmetrics else TEXT
            elif self.path == f"/{secret}/state":
                body, kind = state(), "application/json"
            else:
                self.send_error(404, "ask a gateway for /metrics")
                return
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Stay silent: a scrape isn't news."""

    return Handler
