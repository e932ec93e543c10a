"""The meter answers under a secret path, and asks to be started again when a part of it has ended."""

import threading

import httpx
import pytest

from actors.meter.deployment import Meter
from calmops.telemetry.metering.meter import MeterEnded
from calmops.watching.watch_server import WatchServer


def test_the_meter_answers_only_a_client_that_knows_its_path() -> None:
    server = WatchServer("127.0.0.1", lambda openmetrics: b"open" if openmetrics else b"plain", lambda: b"{}")
    threading.Thread(target=server.serve, daemon=True).start()
    address, _, path = server.url.removeprefix("http://").partition("/")
    secret = path.removesuffix("/metrics")
    try:
        answers = {
            asked: httpx.get(f"http://{address}{asked}")
            for asked in ("/metrics", "/state", f"/{secret}/metrics", f"/{secret}/state")
        }
        openmetrics = httpx.get(server.url, headers={"accept": "application/openmetrics-text"})
    finally:
        server.close()
    assert [answer.status_code for answer in answers.values()] == [404, 404, 200, 200]
    assert [answer.text for answer in answers.values()][2:] == ["plain", "{}"]
    assert openmetrics.text == "open"


class Folding:
    """Stands in for the meter that folds, well or with an error."""

    def __init__(self, error: MeterEnded | None = None) -> None:
        self._error = error

    def check_health(self) -> None:
        if self._error is not None:
            raise self._error


def test_a_meter_one_of_whose_threads_has_ended_asks_to_be_started_again() -> None:
    over = threading.Event()
    alive, ended = threading.Thread(target=over.wait, name="watch"), threading.Thread(target=int, name="roster")
    for thread in (alive, ended):
        thread.start()
    ended.join()
    meter = Meter.__new__(Meter)
    meter._leaving = threading.Event()
    meter._meter, meter._threads = Folding(), [alive]  # type: ignore[assignment]
    meter.check_health()
    meter._threads = [alive, ended]
    with pytest.raises(MeterEnded, match="roster"):
        meter.check_health()
    meter._meter = Folding(MeterEnded("stands still"))  # type: ignore[assignment]
    with pytest.raises(MeterEnded, match="stands still"):
        meter.check_health()
    meter._leaving.set()
    over.set()
    alive.join()
