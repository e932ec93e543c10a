"""Unit tests start no cluster: ``ray.init`` raises in them, as in Ray Serve's own unit tests."""

from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes is the machine's matter (a busy one is slow); what it shows is the test's.
settings.register_profile("calmops", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("calmops")


def _refused(*given: Any, **named: Any) -> NoReturn:
    raise AssertionError(f"a unit test must not start a cluster: {given} {named}")


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "actors" in request.path.parts:
        import ray

        monkeypatch.setattr(ray, "init", _refused)
