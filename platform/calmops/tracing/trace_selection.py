"""Selects the traces to keep, when a request has ended: failed, migrated and slow ones, and a share of the others.

The tracer asks it before it makes spans. The request and those before it decide, so the same log gives the same traces.
It knows no span.
"""

from bisect import insort
from collections import deque

from calmops.messages.record import NOT_COUNTED, SUCCESSES, Closed
from calmops.tracing.context import TraceContext

REMEMBERED = 1000  # latest requests, which define what is slow
LEAST = 100  # below this number of remembered requests nothing counts as slow
SHARE = 0.01  # of all other traces
_ID_SPAN = 1 << 64


class SlowestTail:
    """Finds values that are among the largest of the latest ones."""

    def __init__(self, share: float, remembered: int = REMEMBERED) -> None:
        self._share = share
        self._remembered = remembered
        self._latest: deque[int] = deque()
        self._ordered: list[int] = []

    def see(self, value: int) -> bool:
        """Remember a value; return whether it lies above the share's quantile of those before it."""
        rank = int((1 - self._share) * len(self._ordered))
        slow = len(self._ordered) >= LEAST and value > self._ordered[min(rank, len(self._ordered) - 1)]
        if len(self._latest) == self._remembered:
            self._ordered.remove(self._latest.popleft())
        self._latest.append(value)
        insort(self._ordered, value)
        return slow


class TailSampler:
    """Decides whether a trace is kept, and why. Owned by one thread."""

    def __init__(self, share: float = SHARE, slowest: float = SHARE) -> None:
        """Set the share of otherwise unkept traces to keep, and the share that counts as slow, both from 0 to 1."""
        self._share = share
        self._ttfts, self._token_times = SlowestTail(slowest), SlowestTail(slowest)

    def keep(self, closed: Closed, context: TraceContext) -> str | None:
        """Return why to keep the trace: "error", "migrated", "ledger", "slow", "caller" or "share"; None: drop it."""
        slow = [
            self._ttfts.see(closed.ttft_ns) if closed.ttft_ns is not None else False,
            self._token_times.see((closed.duration_ns - (closed.ttft_ns or 0)) // closed.delivered)
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
