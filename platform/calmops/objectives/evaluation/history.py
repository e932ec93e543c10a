"""Holds what the embedded evaluator remembers: counters as they were read, and the events of each step.

Both are bounded by time. With running sums beside the values, a question about a span takes two look-ups, however long
the span is.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from msgspec import Meta, Struct

from calmops.objectives.evaluation.burn import SampledSpan, increase

TRIM_EVERY = 512  # old entries are dropped this many at a time


class CounterHistory:
    """Keeps one counter's samples for ``keep_s``."""

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._times_s, self._values = array("d"), array("d")
        self._hidden = array("d")  # what resets hid, up to this sample and including it

    def append(self, at_s: float, value: float) -> None:
        """Add a sample, later than the last."""
        before = self._values[-1] if self._values else 0.0
        hidden = self._hidden[-1] if self._hidden else 0.0
        self._times_s.append(at_s)
        self._values.append(value)
        self._hidden.append(hidden + before if value < before else hidden)
        if len(self._times_s) > TRIM_EVERY and self._times_s[TRIM_EVERY] < at_s - self._keep_s:
            for column in (self._times_s, self._values, self._hidden):
                del column[:TRIM_EVERY]

    def is_past(self, at_s: float) -> bool:
        """Return whether every sample is older than ``keep_s``."""
        return self._times_s[-1] < at_s - self._keep_s

    def increase(self, start_s: float, end_s: float) -> float | None:
        """Return by how much the counter rose over the span; None for fewer than two samples in it."""
        first, last = bisect_left(self._times_s, start_s), bisect_right(self._times_s, end_s) - 1
        if last <= first:
            return None
        span = SampledSpan(
            self._times_s[first], self._values[first], self._times_s[last], self._values[last],
            last - first + 1, self._hidden[last] - self._hidden[first],
        )  # fmt: skip
        return increase(span, start_s, end_s)


class EventSums(NamedTuple):
    """Sums the events of some steps: all events, the bad ones among them, and how many steps these were."""

    events: float
    bad: float
    steps: int


class SavedSteps(Struct, frozen=True, array_like=True):
    """Holds a StepSums for a file: the time of each entry, and the sums up to it and including it."""

    times_s: list[float]
    events: list[float]
    bad: list[float]
    steps: list[Annotated[int, Meta(ge=0, lt=1 << 32)]]
    let_go: EventSums
    grain_ends_s: float

    def __post_init__(self) -> None:
        """Raise ValueError if the columns differ in length."""
        if len({len(column) for column in (self.times_s, self.events, self.bad, self.steps)}) != 1:
            raise ValueError("entries are incomplete")


class StepSums:
    """Keeps the events of each step for ``keep_s``.

    Steps within ``grain_s`` are kept as one entry, which has the time of the last: all of them leave a span together.
    """

    def __init__(self, keep_s: float, grain_s: float = 0.0) -> None:
        self._keep_s, self._grain_s = keep_s, grain_s
        # Beside its time, an entry holds the sums up to it and including it.
        self._times_s, self._events, self._bad, self._steps = array("d"), array("d"), array("d"), array("I")
        self._columns: tuple[array[Any], ...] = (self._times_s, self._events, self._bad, self._steps)
        self._let_go = self._all = EventSums(0.0, 0.0, 0)
        self._grain_ends_s = float("-inf")

    def __bool__(self) -> bool:
        """Return whether it holds any step."""
        return bool(self._times_s)

    def saved(self) -> SavedSteps:
        """Return all that it holds."""
        return SavedSteps(
            self._times_s.tolist(),
            self._events.tolist(),
            self._bad.tolist(),
            self._steps.tolist(),
            self._let_go,
            self._grain_ends_s,
        )

    def resume(self, saved: SavedSteps, now_s: float) -> None:
        """Continue from what another one held; this one must be empty.

        Entries later than ``now_s`` are left out: they come from a clock that was set back since.
        """
        entries = bisect_right(saved.times_s, now_s)
        kept: tuple[Sequence[float], ...] = (saved.times_s, saved.events, saved.bad, saved.steps)
        for column, values in zip(self._columns, kept, strict=True):
            column.extend(values[:entries])
        self._let_go = saved.let_go
        self._all = self._up_to(entries)
        if entries == len(saved.times_s):
            self._grain_ends_s = saved.grain_ends_s

    def append(self, at_s: float, events: float, bad: float) -> None:
        """Add a step that ended at ``at_s``."""
        if at_s < self._grain_ends_s:
            for column in self._columns:
                column.pop()
        else:
            self._grain_ends_s = at_s + self._grain_s
        self._all = EventSums(self._all.events + events, self._all.bad + bad, self._all.steps + 1)
        for column, value in zip(self._columns, (at_s, *self._all), strict=True):
            column.append(value)
        if len(self._times_s) > TRIM_EVERY and self._times_s[TRIM_EVERY] < at_s - self._keep_s:
            self._let_go = self._up_to(TRIM_EVERY)
            for column in self._columns:
                del column[:TRIM_EVERY]

    def is_past(self, at_s: float) -> bool:
        """Return whether every step is older than ``keep_s``."""
        return self._times_s[-1] < at_s - self._keep_s

    def over(self, start_s: float, end_s: float) -> EventSums:
        """Return the sums over the steps that ended within the span."""
        first, last = bisect_left(self._times_s, start_s), bisect_right(self._times_s, end_s) - 1
        if last < first:
            return EventSums(0.0, 0.0, 0)
        before, now = self._up_to(first), self._up_to(last + 1)
        return EventSums(now.events - before.events, now.bad - before.bad, now.steps - before.steps)

    def _up_to(self, entries: int) -> EventSums:
        """Return the sums over everything dropped and the first ``entries`` entries."""
        if not entries:
            return self._let_go
        return EventSums(self._events[entries - 1], self._bad[entries - 1], self._steps[entries - 1])
