"""What the embedded evaluator remembers: counters as they were read, and what was counted in each step. Bounded by time.

Running sums beside the values make every question about a span two look-ups, however long it is.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from msgspec import Meta, Struct

from calmops.objectives.evaluation.burn import Covered, increase

TRIM_EVERY = 512  # entries: old ones are let go together


class CounterHistory:
    """One counter's samples, for ``keep_s``."""

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._times_s, self._values = array("d"), array("d")
        self._hidden = array("d")  # by resets, up to and with this sample

    def append(self, at_s: float, value: float) -> None:
        """One more sample, later than the last."""
        before = self._values[-1] if self._values else 0.0
        hidden = self._hidden[-1] if self._hidden else 0.0
        self._times_s.append(at_s)
        self._values.append(value)
        self._hidden.append(hidden + before if value < before else hidden)
        if len(self._times_s) > TRIM_EVERY and self._times_s[TRIM_EVERY] < at_s - self._keep_s:
            for column in (self._times_s, self._values, self._hidden):
                del column[:TRIM_EVERY]

    def is_past(self, at_s: float) -> bool:
        """Whether everything that it holds is older than is asked for."""
        return self._times_s[-1] < at_s - self._keep_s

    def increase(self, start_s: float, end_s: float) -> float | None:
        """By how much it rose over the span; None for fewer than two samples in it."""
        first, last = bisect_left(self._times_s, start_s), bisect_right(self._times_s, end_s) - 1
        if last <= first:
            return None
        seen = Covered(
            self._times_s[first], self._values[first], self._times_s[last], self._values[last],
            last - first + 1, self._hidden[last] - self._hidden[first],
        )  # fmt: skip
        return increase(seen, start_s, end_s)


class Noted(NamedTuple):
    """What was counted in a span: its events, those of them that were bad, and in how many steps."""

    events: float
    bad: float
    steps: int


class SavedSteps(Struct, frozen=True, array_like=True):
    """What a StepSums holds, for a file: of each entry its time, and what was counted up to and with it."""

    times_s: list[float]
    events: list[float]
    bad: list[float]
    steps: list[Annotated[int, Meta(ge=0, lt=1 << 32)]]
    let_go: Noted
    grain_ends_s: float

    def __post_init__(self) -> None:
        """ValueError where an entry lacks something."""
        if len({len(column) for column in (self.times_s, self.events, self.bad, self.steps)}) != 1:
            raise ValueError("entries are incomplete")


class StepSums:
    """What was counted in each step, for ``keep_s``. Steps within ``grain_s`` are kept as one: all of them leave a span with the last."""

    def __init__(self, keep_s: float, grain_s: float = 0.0) -> None:
        self._keep_s, self._grain_s = keep_s, grain_s
        self._times_s, self._events, self._bad, self._steps = array("d"), array("d"), array("d"), array("I")
        self._columns: tuple[array[Any], ...] = (
            self._times_s,
            self._events,
            self._bad,
            self._steps,
        )  # but for the times: up to and with each
        self._let_go = self._all = Noted(0.0, 0.0, 0)
        self._grain_ends_s = float("-inf")

    def __bool__(self) -> bool:
        """Whether it holds anything."""
        return bool(self._times_s)

    def saved(self) -> SavedSteps:
        """All that it holds."""
        return SavedSteps(
            self._times_s.tolist(),
            self._events.tolist(),
            self._bad.tolist(),
            self._steps.tolist(),
            self._let_go,
            self._grain_ends_s,
        )

    def resume(self, saved: SavedSteps, now_s: float) -> None:
        """Go on, being empty, from what another one held; what is later than now a clock said that was set back since."""
        entries = bisect_right(saved.times_s, now_s)
        kept: tuple[Sequence[float], ...] = (saved.times_s, saved.events, saved.bad, saved.steps)
        for column, values in zip(self._columns, kept, strict=True):
            column.extend(values[:entries])
        self._let_go = saved.let_go
        self._all = self._up_to(entries)
        if entries == len(saved.times_s):
            self._grain_ends_s = saved.grain_ends_s

    def append(self, at_s: float, events: float, bad: float) -> None:
        """One more step, which ended at ``at_s``."""
        if at_s < self._grain_ends_s:
            for column in self._columns:
                column.pop()
        else:
            self._grain_ends_s = at_s + self._grain_s
        self._all = Noted(self._all.events + events, self._all.bad + bad, self._all.steps + 1)
        for column, value in zip(self._columns, (at_s, *self._all), strict=True):
            column.append(value)
        if len(self._times_s) > TRIM_EVERY and self._times_s[TRIM_EVERY] < at_s - self._keep_s:
            self._let_go = self._up_to(TRIM_EVERY)
            for column in self._columns:
                del column[:TRIM_EVERY]

    def is_past(self, at_s: float) -> bool:
        """Whether everything that it holds is older than is asked for."""
        return self._times_s[-1] < at_s - self._keep_s

    def over(self, start_s: float, end_s: float) -> Noted:
        """Summed over the steps that ended within the span."""
        first, last = bisect_left(self._times_s, start_s), bisect_right(self._times_s, end_s) - 1
        if last < first:
            return Noted(0.0, 0.0, 0)
        before, now = self._up_to(first), self._up_to(last + 1)
        return Noted(now.events - before.events, now.bad - before.bad, now.steps - before.steps)

    def _up_to(self, entries: int) -> Noted:
        """Summed over everything before that entry."""
        if not entries:
            return self._let_go
        return Noted(self._events[entries - 1], self._bad[entries - 1], self._steps[entries - 1])
