"""What to do when an attempt failed: go on elsewhere, a bounded number of times, or give up. Pure."""

from enum import Enum


class Verdict(Enum):
    """The next move."""

    RETRY = "retry"
    GIVE_UP = "give up"


class AttemptBudget:
    """One request's failed attempts."""

    def __init__(self, max_attempts: int) -> None:
        assert max_attempts >= 1, f"max_attempts {max_attempts} must be at least 1"
        self._max_attempts = max_attempts
        self._failed = 0
        self.lost: tuple[str, ...] = ()  # replicas whose calls failed: this request must not meet them again
        self.reasons: list[str] = []

    def failed(self, replica_id: str | None, why: str) -> Verdict:
        """One attempt failed; ``replica_id`` if that speaks against its replica: one that was only silent may be back."""
        self._failed += 1
        self.reasons.append(why)
        if replica_id is not None and replica_id not in self.lost:
            self.lost = (*self.lost, replica_id)
        return Verdict.GIVE_UP if self._failed >= self._max_attempts else Verdict.RETRY
