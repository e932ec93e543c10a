"""Decides what to do when an attempt has failed: go on elsewhere, a bounded number of times, or give up. Pure."""

from enum import Enum


class Verdict(Enum):
    """Names the next move."""

    RETRY = "retry"
    GIVE_UP = "give up"


class AttemptBudget:
    """Counts one request's failed attempts."""

    def __init__(self, max_attempts: int) -> None:
        assert max_attempts >= 1, f"max_attempts {max_attempts} must be at least 1"
        self._max_attempts = max_attempts
        self._failed = 0
        self.lost: tuple[str, ...] = ()  # replicas whose calls failed: this request must not meet them again

    def fail(self, replica_id: str | None) -> Verdict:
        """Count one failed attempt; return the next move.

        ``replica_id`` names the replica if the failure speaks against it. One that was only silent may be back.
        """
        self._failed += 1
        if replica_id is not None and replica_id not in self.lost:
            self.lost = (*self.lost, replica_id)
        return Verdict.GIVE_UP if self._failed >= self._max_attempts else Verdict.RETRY
