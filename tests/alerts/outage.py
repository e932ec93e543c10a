"""What a synthetic outage needs: an exporter whose traffic can be made bad, and a receiver that counts notifications."""

import json
import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from calmops.foundation import metric_names
from calmops.foundation.metric_names import BAD, GOOD
from calmops.objectives.objective import EVENTS_SERIES, AnyObjective, Value

LABELS = 'model="m",version="1",variant="stable",tier="base",environment="test",shard="0"'


class Exporter:
    """Steady traffic for every objective, good until ``bad_share`` says otherwise; counts by the clock, at each scrape."""

    def __init__(self, objectives: Iterable[AnyObjective], rate_per_s: float) -> None:
        self._objectives = list(objectives)
        self._rate_per_s = rate_per_s
        self._counted = {one.name: [0.0, 0.0] for one in self._objectives if not isinstance(one, Value)}
        self._since_s = time.monotonic()
        self._bad_share = 0.0
        self._lock = threading.Lock()
        self.reachable = True
        self._server = _serve(self._answer)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def turn(self, bad_share: float) -> float:
        """From now on so much is bad; the time, monotonic s."""
        with self._lock:
            self._count()
            self._bad_share = bad_share
            return self._since_s

    def stop(self) -> None:
        """Close it."""
        self._server.shutdown()

    def _count(self) -> None:
        now_s = time.monotonic()
        events = (now_s - self._since_s) * self._rate_per_s
        for counted in self._counted.values():
            counted[0] += events * (1 - self._bad_share)
            counted[1] += events * self._bad_share
        self._since_s = now_s

    def _answer(self, _body: bytes) -> tuple[int, bytes]:
        if not self.reachable:
            return 503, b""
        with self._lock:
            self._count()
            lines = [
                f'{EVENTS_SERIES}{{objective="{name}",{LABELS},result="{result}"}} {value}'
                for name, counted in self._counted.items()
                for result, value in zip((GOOD, BAD), counted, strict=True)
            ]
            for one in self._objectives:
                if isinstance(one, Value):
                    lines.append(f'{one.gauge}{{model="m"}} {one.bound * (2 if self._bad_share else 0.5)}')
        lines += [f"{metric_names.FOLDED.name} 1", f"{metric_names.MISSING.name} {1 if self._bad_share else 0}"]
        return 200, ("\n".join(lines) + "\n").encode()


class Notified(NamedTuple):
    """One notification."""

    at_s: float  # monotonic
    receiver: str
    status: str  # "firing" or "resolved"
    alert: str
    severity: str


class Receiver:
    """Alertmanager's webhook: keeps what it is sent."""

    def __init__(self) -> None:
        self.notified: list[Notified] = []
        self._server = _serve(self._take)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        """Close it."""
        self._server.shutdown()

    def _take(self, body: bytes) -> tuple[int, bytes]:
        told: dict[str, Any] = json.loads(body)
        labels = told["alerts"][0]["labels"]
        self.notified.append(Notified(time.monotonic(), told["receiver"], told["status"], labels["alertname"], labels["severity"]))
        return 200, b""


def _serve(answer: Any) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(*answer(b""))

        def do_POST(self) -> None:
            self._send(*answer(self.rfile.read(int(self.headers["content-length"]))))

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
