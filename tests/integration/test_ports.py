"""Tests the choice of free ports, and the ports that follow them."""

import socket
from pathlib import Path

import pytest

from calmops.foundation import ports
from calmops.foundation.ports import free_port


def test_the_port_and_its_followers_can_be_bound() -> None:
    first = free_port(followers=2)
    servers = [socket.create_server(("127.0.0.1", first + step)) for step in range(3)]
    for server in servers:
        server.close()


def test_a_port_whose_follower_is_taken_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def is_free(port: int) -> bool:
        asked.append(port)
        return len(asked) != 2

    monkeypatch.setattr(ports, "_is_free", is_free)
    assert free_port(followers=1) == asked[2]
    assert asked[1] == asked[0] + 1
    assert asked[3] == asked[2] + 1


def test_a_bound_port_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not ports._is_free(server.getsockname()[1])


def test_no_port_is_given_that_an_outgoing_connection_could_take_meanwhile() -> None:
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    assert all(free_port(followers=2) + 2 < first_outgoing for _ in range(200))
