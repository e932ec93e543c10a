"""This module picks free TCP ports of loopback."""

import secrets
import socket

FIRST, LAST = 20_000, 32_000  # below the ports that Linux gives to outgoing connections (from 32768)


def free_port(*, followers: int = 0) -> int:
    """Return a port of 127.0.0.1 that is free now, as are the ``followers`` ports after it.

    Nothing reserves the port, and the caller may bind it seconds later. So it lies outside the range from which Linux
    could give it to an outgoing connection in the meantime.
    """
    while True:
        port = FIRST + secrets.randbelow(LAST - FIRST - followers)
        if all(_is_free(port + step) for step in range(followers + 1)):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
