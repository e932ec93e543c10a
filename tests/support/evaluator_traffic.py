"""Makes traffic for the embedded evaluator, one reading per minute."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from calmops.foundation.metric_names import BAD, GOOD
from calmops.foundation.model_labels import ModelLabels, ShardLabels
from calmops.objectives.evaluation.evaluator import Evaluator, Firing
from calmops.objectives.evaluation.event_counters import Counter
from calmops.objectives.promises.objective import AnyObjective
from calmops.objectives.promises.windows import Windows

MODEL = ModelLabels("m", "1", "stable", "base", "test")
HOUR, DAY = 60, 24 * 60  # minutes

Share = Callable[[int], float]  # of events that are bad, by minute


class Traffic(NamedTuple):
    """Describes one shard's events and the share of them that is bad, by minute."""

    events: Callable[[int], int]
    bad_share: Share
    shard: str = "0"


class Driven:
    """Drives an evaluator of one objective with its shards' traffic, and keeps what fired in each minute."""

    def __init__(self, objective: AnyObjective, windows: Windows, *traffic: Traffic) -> None:
        self._objective, self._traffic = objective, traffic
        self.evaluator = Evaluator([objective], windows)
        self.counters: dict[Counter, float] = {}
        self.minute = -1
        self.fired: list[list[Firing]] = []
        self.maintained: set[str] = set()

    def run(self, minutes: int, *, reading: bool = True) -> "Driven":
        """Run ``minutes`` more; without ``reading`` the evaluator can't read the counters meanwhile."""
        for _ in range(minutes):
            self.minute += 1
            for traffic in self._traffic:
                events = traffic.events(self.minute)
                bad = round(events * traffic.bad_share(self.minute))
                for result, count in ((GOOD, events - bad), (BAD, bad)):
                    counter = Counter(self._objective.name, ShardLabels(MODEL, traffic.shard), result)
                    self.counters[counter] = self.counters.get(counter, 0.0) + count
            if reading:
                self.evaluator.read(60.0 * self.minute, self.counters, {})
            self.fired.append(self.evaluator.evaluate(60.0 * self.minute, self.maintained))
        return self

    def restart(self) -> None:
        """Set every counter back to 0."""
        self.counters = dict.fromkeys(self.counters, 0.0)

    def minutes(self, severity: str) -> list[int]:
        """Return the minutes in which an alert of that severity fired."""
        return [
            minute for minute, firing in enumerate(self.fired) if any(alert.severity == severity for alert in firing)
        ]


def steady(count: int) -> Callable[[int], int]:
    """Return a course of ``count`` events every minute."""
    return lambda _: count


def between(first: int, last: int, share: float) -> Share:
    """Return a course in which ``share`` of the events is bad from minute ``first`` to before ``last``, else none."""
    return lambda minute: share if first <= minute < last else 0.0


def spans(minutes: Iterable[int]) -> list[tuple[int, int]]:
    """Return runs of consecutive minutes as (first, last)."""
    runs: list[tuple[int, int]] = []
    for minute in minutes:
        if runs and runs[-1][1] == minute - 1:
            runs[-1] = (runs[-1][0], minute)
        else:
            runs.append((minute, minute))
    return runs
