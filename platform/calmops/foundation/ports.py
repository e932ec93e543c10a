"""Free TCP ports of loopback."""

import socket


def free_port(*, followers: int = 0) -> int:
    """A port of 127.0.0.1 that nobody has just now, nor any of the ``followers`` ports after it.

    Nothing holds it for the caller: somebody else may take it before the caller does.
    """
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            if all(_is_free(port + step) for step in range(1, followers + 1)):
                return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True
