"""Free TCP ports of loopback."""

import secrets
import socket

FIRST, LAST = 20_000, 32_000  # below those that Linux gives to outgoing connections (from 32768)


def free_port(*, followers: int = 0) -> int:
    """A port of 127.0.0.1 that nobody has just now, nor any of the ``followers`` ports after it.

    Nothing holds it for the caller, who may bind it seconds later: so it is none that a connection could be given meanwhile.
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
