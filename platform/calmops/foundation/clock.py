"""Two clocks are injected everywhere: a monotonic one for durations and a wall clock for timestamps.

Tests bring their own.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time, and may be exchanged in tests."""

    def now_ns(self) -> int:
        """Return monotonic time in integer nanoseconds, comparable only within one machine."""
        ...

    def wall_ns(self) -> int:
        """Return the time since the Unix epoch in integer nanoseconds."""
        ...


class SystemClock:
    """Reads the machine's own clocks (all processes of a node share CLOCK_MONOTONIC)."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns()


class ManualClock:
    """Moves only when ``advance`` is called; for tests and simulations."""

    def __init__(self, start_ns: int = 1_000_000_000) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        return self._now_ns

    def wall_ns(self) -> int:
        return self._now_ns

    def advance(self, delta_ns: int) -> None:
        """Move the time forward by ``delta_ns`` (>= 0)."""
        assert delta_ns >= 0, f"time cannot go back: {delta_ns} ns"
        self._now_ns += delta_ns
