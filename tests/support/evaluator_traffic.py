"""Traffic for the embedded evaluator, a reading a minute."""

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
    """What one shard sees, by minute."""

    events: Callable[[int], int]
    bad_share: Share
    shard: str = "0"


class Driven:
    """One objective, its shards' traffic, and what fired in each minute."""

    def __init__(self, objective: AnyObjective, windows: Windows, *traffic: Traffic) -> None:
        self._objective, self._traffic = objective, traffic
        self.evaluator = Evaluator([objective], windows)
        self.counters: dict[Counter, float] = {}
        self.minute = -1
        self.fired: list[list[Firing]] = []
        self.maintained: set[str] = set()

    def run(self, minutes: int, *, reading: bool = True) -> "Driven":
        """So many minutes more; without ``reading`` the counters can't be had meanwhile."""
        for _ in range(minutes):
            self.minute += 1
            for one in self._traffic:
                events = one.events(self.minute)
                bad = round(events * one.bad_share(self.minute))
                for result, counted in ((GOOD, events - bad), (BAD, bad)):
                    name = Counter(self._objective.name, ShardLabels(MODEL, one.shard), result)
                    self.counters[name] = self.counters.get(name, 0.0) + counted
            if reading:
                self.evaluator.read(60.0 * self.minute, self.counters, {})
            self.fired.append(self.evaluator.evaluate(60.0 * self.minute, self.maintained))
        return self

    def restart(self) -> None:
        """The counters begin anew."""
        self.counters = dict.fromkeys(self.counters, 0.0)

    def minutes(self, severity: str) -> list[int]:
        """The minutes in which something of that severity fired."""
        return [minute for minute, firing in enumerate(self.fired) if any(one.severity == severity for one in firing)]


def steady(count: int) -> Callable[[int], int]:
    """That many events every minute."""
    return lambda _: count


def between(first: int, last: int, share: float) -> Share:
    """So many of the events are bad from one minute to before another, none before or after."""
    return lambda minute: share if first <= minute < last else 0.0


def spans(minutes: Iterable[int]) -> list[tuple[int, int]]:
    """Consecutive minutes as (first, last)."""
    found: list[tuple[int, int]] = []
    for minute in minutes:
        if found and found[-1][1] == minute - 1:
            found[-1] = (found[-1][0], minute)
        else:
            found.append((minute, minute))
    return found
