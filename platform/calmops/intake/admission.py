"""Decides whether a gateway takes one more request: after a body was parsed, before the request is placed.

Pure: it counts and answers at once; it never waits. A request counts from its acceptance to its end. While
``max_requests`` requests are inside, the next one is refused. Knows no model and no replica.
"""

from math import ceil

from calmops.foundation.errors import LoadError
from calmops.messages.request import GenerationRequest

RETRY_AFTER_MAX_S = 30
WAIT_S_PER_REQUEST = 0.05  # assumed time to serve one waiting request: only Retry-After depends on it


class Admission:
    """Bounds the number of requests that a gateway holds."""

    def __init__(self, max_requests: int) -> None:
        self.max_requests = max_requests
        self.refused = 0
        self._inside: set[str] = set()

    @property
    def inside(self) -> int:
        """Return how many requests the gateway holds now."""
        return len(self._inside)

    def enter(self, request: GenerationRequest) -> None:
        """Count the request in, or raise LoadError where the gateway is full; a probe is always let in."""
        if len(self._inside) >= self.max_requests and not request.probe:
            self.refused += 1
            retry_after_s = min(RETRY_AFTER_MAX_S, max(1, ceil(len(self._inside) * WAIT_S_PER_REQUEST)))
            raise LoadError(
                f"{len(self._inside)} requests are in this gateway; the limit is {self.max_requests}; "
                f"try again in {retry_after_s} s",
                retry_after_s=retry_after_s,
            )
        self._inside.add(request.request_id)

    def leave(self, request: GenerationRequest) -> None:
        """Count the request out, however it ended."""
        self._inside.discard(request.request_id)
