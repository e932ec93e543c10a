"""Which traces are kept, decided when a request ended: all that went wrong, all that moved, the slowest, and a few others.

Decided by the request itself and by those before it, so that the same log gives the same traces.
"""

from bisect import insort
from collections import deque

from calmops.messages.record import NOT_COUNTED, SUCCESSES, Closed
from calmops.tracing.context import TraceContext

REMEMBERED = 1000  # requests, whose slowness tells what slow is
LEAST = 100  # remembered ones, under which nothing counts as slow
SHARE = 0.01  # of all others
_ID_SPAN = 1 << 64


class SlowestTail:
    """Whether a value is among the largest of the latest ones."""

    def __init__(self, share: float, remembered: int = REMEMBERED) -> None:
        self._share = share
        self._remembered = remembered
        self._latest: deque[int] = deque()
        self._ordered: list[int] = []

    def see(self, value: int) -> bool:
        """Remember one more; True if it lies above the share's quantile of those before it."""
        rank = int((1 - self._share) * len(self._ordered))
        slow = len(self._ordered) >= LEAST and value > self._ordered[min(rank, len(self._ordered) - 1)]
        if len(self._latest) == self._remembered:
            self._ordered.remove(self._latest.popleft())
        self._latest.append(value)
        insort(self._ordered, value)
        return slow


class TailSampler:
    """Says why a trace is kept, or that it isn't. Owned by one thread."""

    def __init__(self, share: float = SHARE, slowest: float = SHARE) -> None:
        """``share``: of what nothing else keeps; ``slowest``: how much counts as slow. Both from 0 to 1."""
        self._share = share
        self._first_token, self._a_token = SlowestTail(slowest), SlowestTail(slowest)

    def keep(self, closed: Closed, context: TraceContext) -> str | None:
        """Why: "error", "migrated", "ledger", "slow", "caller" or "share"; None: it isn't kept."""
        slow = [
            self._first_token.see(closed.ttft_ns) if closed.ttft_ns is not None else False,
            self._a_token.see((closed.duration_ns - (closed.ttft_ns or 0)) // closed.delivered)
            if closed.delivered
            else False,
        ]
        if closed.outcome not in (*SUCCESSES, *NOT_COUNTED):
            return "error"
        if closed.attempts > 1:
            return "migrated"
        if closed.ledger != "held" or closed.exact_lost:
            return "ledger"
        if any(slow):
            return "slow"
        if context.sampled:
            return "caller"
        return "share" if context.trace_id % _ID_SPAN < self._share * _ID_SPAN else None
