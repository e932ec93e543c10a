"""Unit tests of the core are pure: no Ray, no connection, no sleeping. Those of the engine run real ranks."""

import socket
import sys
import time
from typing import Any, NoReturn

import pytest

IMPURE = {"engine"}  # folders: their tests start ranks and compilers


def _refused(*given: Any, **named: Any) -> NoReturn:
    raise AssertionError(f"a unit test must not do this: {given} {named}")


@pytest.fixture(autouse=True)
def _pure(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    if IMPURE & set(request.path.parts):
        return
    monkeypatch.setattr(socket.socket, "connect", _refused)
    monkeypatch.setattr(socket.socket, "bind", _refused)
    monkeypatch.setattr(time, "sleep", _refused)
