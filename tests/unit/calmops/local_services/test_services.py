"""Parts beside the platform are ended again where the platform itself doesn't come up."""

from collections.abc import Callable
from typing import Any

import pytest

from calmops.foundation.config import Config
from calmops.foundation.errors import ConfigError
from calmops.local_services import services


class Part:
    """One that is only noted."""

    def __init__(self, pid: int | None) -> None:
        self.pid = pid

    def stop(self) -> bool:
        ran, self.pid = self.pid is not None, None
        return ran


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> dict[str, Part]:
    """Kafka runs from before; Prometheus and Alertmanager are begun."""
    found = {"kafka": Part(7), "prometheus": Part(None), "alertmanager": Part(None)}

    def start(config: Config, _wanted: str, _say: Callable[[str], Any]) -> services.Started:
        found["prometheus"].pid, found["alertmanager"].pid = 8, 9
        return services.Started(config, {})

    monkeypatch.setattr(services, "_services", lambda: found)
    monkeypatch.setattr(services, "_start", start)
    return found


def test_they_run_on_where_all_went_well(running: dict[str, Part]) -> None:
    with services.started(Config(), "prometheus", print):
        pass
    assert [part.pid for part in running.values()] == [7, 8, 9]


def test_what_was_begun_is_ended_where_it_did_not(running: dict[str, Part]) -> None:
    with pytest.raises(RuntimeError, match="no room"), services.started(Config(), "prometheus", print):
        raise RuntimeError("no room")
    assert [part.pid for part in running.values()] == [7, None, None]


def test_services_are_refused_where_telemetry_is_off() -> None:
    with (
        pytest.raises(ConfigError, match="telemetry is off"),
        services.started(Config(telemetry=False), "kafka", print),
    ):
        pass
