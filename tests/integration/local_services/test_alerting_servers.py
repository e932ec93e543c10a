"""Starts the real Prometheus and Alertmanager on loopback, as `calmops up --with prometheus` does."""

import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from alerts.generate import ALERTMANAGER, RULES, SHIPPED
from calmops.foundation.errors import SetupError
from calmops.foundation.ports import free_port
from calmops.local_services import prometheus as prometheus_module
from calmops.local_services import web_server
from calmops.local_services.alertmanager import LocalAlertmanager
from calmops.local_services.process import LocalProcess
from calmops.local_services.prometheus import LocalPrometheus, scraping
from calmops.local_services.prometheus_programs import install
from tests.support.alerts.real_servers import TOOLS


@pytest.fixture(name="pair")
def unstarted_pair(tmp_path: Path) -> Iterator[tuple[LocalPrometheus, LocalAlertmanager]]:
    install(TOOLS)
    pair = (
        LocalPrometheus(TOOLS, tmp_path / "prometheus", free_port()),
        LocalAlertmanager(TOOLS, tmp_path / "alertmanager", free_port()),
    )
    yield pair
    for server in pair:
        server.stop()


def test_both_start_with_the_shipped_files_know_each_other_and_can_be_stopped_by_another_object(
    pair: tuple[LocalPrometheus, LocalAlertmanager],
) -> None:
    prometheus, alertmanager = pair
    alertmanager.start(_yaml(ALERTMANAGER))
    prometheus.folder.mkdir()
    (prometheus.folder / prometheus_module.RULES).write_text((SHIPPED / RULES).read_text())
    prometheus.start(scraping(["127.0.0.1:1"], f"127.0.0.1:{alertmanager.port}", 15))
    groups = httpx.get(f"{prometheus.url}/api/v1/rules").json()["data"]["groups"]
    assert {rule["name"] for group in groups for rule in group["rules"]} >= {"RequestsFailing", "TelemetryStopped"}
    assert _known_alertmanagers(prometheus, 30.0) == [f"{alertmanager.url}/api/v2/alerts"]
    first = prometheus.pid
    other = LocalPrometheus(TOOLS, prometheus.folder, prometheus.port)
    other.start(scraping([], "127.0.0.1:1", 15))
    assert other.pid == first, "it was left running"
    assert other.stop()
    assert prometheus.pid is None
    assert not prometheus.stop()


def test_a_running_server_that_refuses_new_settings_is_an_error_and_keeps_the_old_ones(
    pair: tuple[LocalPrometheus, LocalAlertmanager], monkeypatch: pytest.MonkeyPatch
) -> None:
    prometheus, alertmanager = pair
    prometheus.folder.mkdir()
    rules = prometheus.folder / prometheus_module.RULES
    rules.write_text((SHIPPED / RULES).read_text())
    settings, routes = scraping([], f"127.0.0.1:{alertmanager.port}", 15), _yaml(ALERTMANAGER)
    for server, configuration in ((prometheus, settings), (alertmanager, routes)):
        server.start(configuration)
        server.start(configuration)
    monkeypatch.setattr(web_server, "RELOAD_S", 2.0)
    rules.write_text("groups: [{name: wrong, rules: [{record: a:b, expr: 'sum('}]}]\n")
    with pytest.raises(
        SetupError, match=r"the running prometheus has not taken its new settings within 2 s(?s:.)*parse error"
    ):
        prometheus.start(settings)
    assert "RequestsFailing" in httpx.get(f"{prometheus.url}/api/v1/rules").text
    with pytest.raises(SetupError, match="the running alertmanager has not taken its new settings"):
        alertmanager.start(routes | {"receivers": []})
    rules.write_text("groups: []\n")
    prometheus.start(settings)
    assert "RequestsFailing" not in httpx.get(f"{prometheus.url}/api/v1/rules").text


def test_a_taken_port_and_a_program_that_ends_are_errors_with_a_remedy(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            SetupError, match=f"p: port {port} of 127.0.0.1 is taken by another process; end that, or choose"
        ):
            LocalProcess("p", tmp_path / "p", [port]).start([sys.executable, "-c", ""], lambda: True, 5.0)
    with pytest.raises(SetupError, match="q ended with 3 while starting: no flag --x"):
        LocalProcess("q", tmp_path / "q", []).start(
            [sys.executable, "-c", "import sys; print('no flag --x'); sys.exit(3)"], lambda: False, 30.0
        )
    slow = LocalProcess("r", tmp_path / "r", [])
    with pytest.raises(SetupError, match=r"r wasn't ready after 0 s; its log is .*r/r\.log"):
        slow.start([sys.executable, "-c", "import time; time.sleep(60)"], lambda: False, 0.4)
    assert slow.pid is None


def _known_alertmanagers(prometheus: LocalPrometheus, limit_s: float) -> list[str]:
    """Return the URLs of the Alertmanagers that Prometheus knows within ``limit_s``."""
    end_s = time.monotonic() + limit_s
    while True:
        known = httpx.get(f"{prometheus.url}/api/v1/alertmanagers").json()["data"]["activeAlertmanagers"]
        if known or time.monotonic() > end_s:
            return [alertmanager["url"] for alertmanager in known]
        time.sleep(0.2)


def _yaml(name: str) -> dict[str, object]:
    document: dict[str, object] = yaml.safe_load((SHIPPED / name).read_text())
    return document
