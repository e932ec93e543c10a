"""Simulates an outage: an exporter whose shards can be made bad, and a receiver that keeps notifications."""

import json
import threading
import time
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from calmops.foundation import metric_names
from calmops.foundation.metric_names import BAD, GOOD
from calmops.objectives.promises.objective import EVENTS_SERIES, AnyObjective, Value

HIT, SPARED = ("hit-a", "hit-b"), "spared"  # models with and without a bad shard
SHARDS = {"0": 3, "1": 1}  # every model's shards, and how its traffic is spread over them
WORST = "1"  # the bad shard of each model that is hit
BAD_SHARE = SHARDS[WORST] / sum(SHARDS.values())  # of such a model's traffic


class Exporter:
    """Exports steady traffic for every objective, on each shard of each model; counts by the clock at each scrape."""

    def __init__(self, objectives: Iterable[AnyObjective], rate_per_s: float) -> None:
        """``rate_per_s``: events of each objective on the shard with least traffic."""
        self._objectives = list(objectives)
        self._rate_per_s = rate_per_s
        self._counted = {
            (one.name, model, shard): [0.0, 0.0]
            for one in self._objectives
            if not isinstance(one, Value)
            for model in (*HIT, SPARED)
            for shard in SHARDS
        }
        self._folded = 0.0
        self._since_s = time.monotonic()
        self._bad = False
        self._lock = threading.Lock()
        self.reachable = True
        self._server = _serve(self._answer)

    @property
    def port(self) -> int:
        """Return the port on which it listens."""
        return int(self._server.server_address[1])

    def turn(self, *, bad: bool) -> float:
        """Make every event bad on the worst shard of each model that is hit, or good everywhere.

        Returns the time, monotonic seconds.
        """
        with self._lock:
            self._count()
            self._bad = bad
            return self._since_s

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()

    def _count(self) -> None:
        now_s = time.monotonic()
        events = (now_s - self._since_s) * self._rate_per_s
        for (_, model, shard), counted in self._counted.items():
            counted[self._bad and model in HIT and shard == WORST] += events * SHARDS[shard]
        self._folded += events
        self._since_s = now_s

    def _answer(self, _body: bytes) -> tuple[int, bytes]:
        if not self.reachable:
            return 503, b""
        with self._lock:
            self._count()
            lines = [
                f'{EVENTS_SERIES}{{objective="{name}",{_labels(model)},shard="{shard}",result="{result}"}} {value}'
                for (name, model, shard), counted in self._counted.items()
                for result, value in zip((GOOD, BAD), counted, strict=True)
            ]
            lines += [
                f"{one.gauge}{{{_labels(model)}}} {one.bound * (2 if self._bad and model in HIT else 0.5)}"
                for one in self._objectives
                if isinstance(one, Value)
                for model in (*HIT, SPARED)
            ]
            lines += [f"{metric_names.FOLDED.name} {self._folded}", f"{metric_names.MISSING.name} {int(self._bad)}"]
        return 200, ("\n".join(lines) + "\n").encode()


def _labels(model: str) -> str:
    return f'model="{model}",version="1",variant="stable",tier="base",environment="test"'


class Notification(NamedTuple):
    """Holds one notification of a group of alerts: what the first of them says."""

    at_s: float  # monotonic
    receiver: str
    status: str  # "firing" or "resolved"
    alert: str
    severity: str
    model: str  # empty for an alert without a model
    others: int  # alerts beside it with another name, severity or model: a group has none
    texts: tuple[str, ...]  # all annotations of each alert


class Receiver:
    """Takes Alertmanager's webhook and keeps its notifications."""

    def __init__(self) -> None:
        self.notifications: list[Notification] = []
        self._server = _serve(self._take)

    @property
    def url(self) -> str:
        """Return the address on which it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()

    def _take(self, body: bytes) -> tuple[int, bytes]:
        group: dict[str, Any] = json.loads(body)
        kinds = [_kind(one["labels"]) for one in group["alerts"]]
        texts = tuple("\n".join(one["annotations"].values()) for one in group["alerts"])
        others = sum(kind != kinds[0] for kind in kinds)
        self.notifications.append(
            Notification(time.monotonic(), group["receiver"], group["status"], *kinds[0], others, texts)
        )
        return 200, b""


def _kind(labels: Mapping[str, str]) -> tuple[str, str, str]:
    return labels["alertname"], labels.get("severity", ""), labels.get("model", "")


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
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
