"""What the embedded evaluator remembers: counters as they were read, and what was counted in each step. Bounded by time.

Running sums beside the values make every question about a span two look-ups, however long it is.
"""

from array import array
from bisect import bisect_left, bisect_right

from calmops.objectives.burn import Covered, increase

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


class StepSums:
    """What was counted in each step, for ``keep_s``."""

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._times_s = array("d")
        self._sums = array("d")  # up to and with this step
        self._let_go = 0.0

    def append(self, at_s: float, counted: float) -> None:
        """One more step, which ended at ``at_s``."""
        self._sums.append((self._sums[-1] if self._sums else self._let_go) + counted)
        self._times_s.append(at_s)
        if len(self._times_s) > TRIM_EVERY and self._times_s[TRIM_EVERY] < at_s - self._keep_s:
            self._let_go = self._sums[TRIM_EVERY - 1]
            del self._times_s[:TRIM_EVERY], self._sums[:TRIM_EVERY]

    def over(self, start_s: float, end_s: float) -> tuple[float, int]:
        """The sum over the steps that ended within the span, and how many they are."""
        first, last = bisect_left(self._times_s, start_s), bisect_right(self._times_s, end_s) - 1
        if last < first:
            return 0.0, 0
        before = self._sums[first - 1] if first else self._let_go
        return self._sums[last] - before, last - first + 1
