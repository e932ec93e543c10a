"""Free ports, and the ones after them."""

import socket

import pytest

from calmops.foundation import ports
from calmops.foundation.ports import free_port


def test_the_port_and_its_followers_can_be_bound() -> None:
    first = free_port(followers=2)
    held = [socket.create_server(("127.0.0.1", first + step)) for step in range(3)]
    for one in held:
        one.close()


def test_a_port_whose_follower_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def is_free(port: int) -> bool:
        asked.append(port)
        return len(asked) > 1

    monkeypatch.setattr(ports, "_is_free", is_free)
    assert free_port(followers=1) + 1 == asked[1]


def test_a_bound_port_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not ports._is_free(server.getsockname()[1])
    assert not ports._is_free(65_536)
