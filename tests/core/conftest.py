"""Unit tests are pure: no Ray, no connection to anywhere, no sleeping."""

import socket
import sys
import time
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes is the machine's matter (a busy one is slow); what it shows is the test's.
settings.register_profile("calmops", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("calmops")


def _refused(*given: Any, **named: Any) -> NoReturn:
    raise AssertionError(f"a unit test must not do this: {given} {named}")


@pytest.fixture(autouse=True)
def _pure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(socket.socket, "connect", _refused)
    monkeypatch.setattr(socket.socket, "bind", _refused)
    monkeypatch.setattr(time, "sleep", _refused)
