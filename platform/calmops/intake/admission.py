"""May this request come in? Pure: counts in, a verdict at once, never a wait.

Every accepted request counts from its acceptance to its end; at ``max_requests`` of them the next is refused.
"""

from math import ceil

from calmops.foundation.errors import LoadError
from calmops.messages.request import GenerationRequest

RETRY_AFTER_MAX_S = 30
WAIT_S_PER_REQUEST = 0.05  # assumed time to serve one waiting request: only Retry-After depends on it


class Admission:
    """The bound on requests that a gateway holds."""

    def __init__(self, max_requests: int) -> None:
        self.max_requests = max_requests
        self.refused = 0
        self._inside: set[str] = set()

    @property
    def inside(self) -> int:
        """Requests held now."""
        return len(self._inside)

    def enter(self, request: GenerationRequest) -> None:
        """Count the request in, or raise LoadError."""
        if len(self._inside) >= self.max_requests and not request.probe:
            self.refused += 1
            retry_after_s = min(RETRY_AFTER_MAX_S, max(1, ceil(len(self._inside) * WAIT_S_PER_REQUEST)))
            raise LoadError(
                f"{len(self._inside)} requests are in this gateway; the limit is {self.max_requests}; "
                f"come back in {retry_after_s} s",
                retry_after_s=retry_after_s,
            )
        self._inside.add(request.request_id)

    def leave(self, request: GenerationRequest) -> None:
        """The request ended, however it did."""
        self._inside.discard(request.request_id)
