"""Two clocks, injected everywhere: monotonic for durations, wall for timestamps. Tests bring their own."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now_ns(self) -> int:
        """Monotonic time, integer nanoseconds; comparable only within one machine."""
        ...

    def wall_ns(self) -> int:
        """Time since the Unix epoch, integer nanoseconds."""
        ...


class SystemClock:
    """The machine's own clocks (CLOCK_MONOTONIC is one for all processes of a node)."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns()


class ManualClock:
    """A clock that moves only when told; for tests and simulations."""

    def __init__(self, start_ns: int = 1_000_000_000) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        return self._now_ns

    def wall_ns(self) -> int:
        return self._now_ns

    def advance(self, delta_ns: int) -> None:
        """Move time on by ``delta_ns`` (>= 0)."""
        assert delta_ns >= 0, f"time cannot go back: {delta_ns} ns"
        self._now_ns += delta_ns
