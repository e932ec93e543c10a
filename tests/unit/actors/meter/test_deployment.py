"""The meter's deployment: what it does without, and when it asks to be started anew."""

import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from actors.meter.deployment import AGAIN_S, Meter, _handler, _watch
from calmops.foundation.config import Config
from calmops.foundation.config_sections import ObjectivesConfig
from calmops.telemetry.metering.meter import MeterEnded


def test_files_that_somebody_is_editing_keep_no_meter_from_starting_and_are_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices, folder = tmp_path / "prices.yaml", tmp_path / "promises"
    prices.write_text("currency: EU")
    (folder / "objectives").mkdir(parents=True)
    (folder / "objectives" / "half.yaml").write_bytes(b"apiVersion: \xff")
    watch, traces, files = _watch(Config(objectives=ObjectivesConfig(path=str(folder), prices_file=str(prices))))
    assert traces is None
    assert [f'part="{part}"}} 1.0' in watch.metrics().decode() for part in ("objectives", "prices", "roster")] == [
        True,
        True,
        False,
    ]
    prices.write_text("currency: EUR")
    files.read_again(watch)
    assert watch._costs.prices.currency == "XXX", "not at each turn"
    monkeypatch.setattr(files, "_next_s", -AGAIN_S)
    files.read_again(watch)
    assert watch._costs.prices.currency == "EUR"
    assert b'calmops_watch_failures_total{part="objectives"} 2.0' in watch.metrics()


def test_what_ships_is_read_at_the_start() -> None:
    watch, _, files = _watch(Config())
    assert watch._brought is not None and watch._brought.objectives
    files.read_again(watch)
    assert not files._readers


def test_it_answers_only_who_was_told_its_path() -> None:
    watch, _, _ = _watch(Config())
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler("secret", lambda _: b"counts", watch))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        answers = {
            path: httpx.get(f"http://127.0.0.1:{server.server_port}{path}")
            for path in ("/metrics", "/state", "/secret/metrics", "/secret/state")
        }
    finally:
        server.shutdown()
        server.server_close()
    assert [answer.status_code for answer in answers.values()] == [404, 404, 200, 200]
    assert answers["/secret/metrics"].text == "counts"
    assert answers["/secret/state"].json().keys() == watch.state().keys()


class Folding:
    """A meter's thread, well or not."""

    def __init__(self, error: MeterEnded | None = None) -> None:
        self._error = error

    def check_health(self) -> None:
        if self._error is not None:
            raise self._error


def test_a_meter_one_of_whose_threads_has_ended_asks_to_be_started_anew() -> None:
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
