"""Services beside the platform are ended again if the platform itself doesn't start."""

from collections.abc import Callable
from typing import Any

import pytest

from calmops.foundation.config import Config
from calmops.foundation.errors import ConfigError
from calmops.local_services import services


class FakeService:
    """Runs if it has a pid."""

    def __init__(self, pid: int | None) -> None:
        self.pid = pid

    def stop(self) -> bool:
        ran, self.pid = self.pid is not None, None
        return ran


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeService]:
    """Kafka runs already; Prometheus and Alertmanager are started."""
    fakes = {"kafka": FakeService(7), "prometheus": FakeService(None), "alertmanager": FakeService(None)}

    def start(config: Config, _wanted: str, _say: Callable[[str], Any]) -> services.Started:
        fakes["prometheus"].pid, fakes["alertmanager"].pid = 8, 9
        return services.Started(config, {})

    monkeypatch.setattr(services, "_services", lambda: fakes)
    monkeypatch.setattr(services, "_start", start)
    return fakes


def test_services_run_on_if_the_block_succeeds(running: dict[str, FakeService]) -> None:
    with services.started(Config(), "prometheus", print):
        pass
    assert [service.pid for service in running.values()] == [7, 8, 9]


def test_services_that_were_started_are_ended_if_the_block_fails(running: dict[str, FakeService]) -> None:
    with pytest.raises(RuntimeError, match="no room"), services.started(Config(), "prometheus", print):
        raise RuntimeError("no room")
    assert [service.pid for service in running.values()] == [7, None, None]


def test_services_are_refused_if_telemetry_is_off() -> None:
    with (
        pytest.raises(ConfigError, match="telemetry is off"),
        services.started(Config(telemetry=False), "kafka", print),
    ):
        pass
