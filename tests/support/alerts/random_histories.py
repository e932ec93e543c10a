"""Makes random histories of good and bad events, one reading per minute.

They hold outages, slow burns, idle hours, restarts, missing readings, gauges that pass their bound for a while, and
models in maintenance.
"""

import random
from typing import NamedTuple

from calmops.foundation.metric_names import BAD, GOOD
from calmops.foundation.model_labels import ModelLabels, ShardLabels
from calmops.objectives.evaluation.event_counters import Counter
from calmops.objectives.promises.objective import AnyObjective, Ratio, Value

Readings = list[float | None]  # one per minute; None: it couldn't be read
Span = tuple[int, int]  # minutes, the last one excluded
# More than two evaluations: so long a gap is seen even by a reader that keeps the last value for a while.
LEAST_GAP_MINUTES = 10


class History(NamedTuple):
    """Holds one model's counters or, for an objective that is a value, its gauge."""

    model: str
    counters: dict[Counter, Readings]
    gauges: dict[ModelLabels, Readings]
    minutes: int
    maintained: tuple[Span, ...]


class _Shard:
    """Counts one shard's events, minute by minute."""

    def __init__(self, rng: random.Random, minutes: int, budget: float) -> None:
        self._rng = rng
        self._rate = rng.choice((0.3, 2, 20, 200))
        self._episodes = [self._episode(minutes) for _ in range(rng.choice((0, 0, 0, 1, 2, 4)))]
        self._idle = [self._span(minutes) for _ in range(rng.choice((0, 0, 1)))]
        self._always = budget * rng.choice((0.0, 0.0, 0.05, 0.5, 1.5, 1.9))
        self._restarts = {rng.randrange(minutes) for _ in range(rng.choice((0, 0, 1)))}
        self._missing = [self._span(minutes, 30) for _ in range(rng.choice((0, 0, 1)))]
        self._counted = [0, 0]

    def minute(self, now: int) -> tuple[float, float] | None:
        """Return the good and bad events so far; None if they can't be read."""
        if now in self._restarts:
            self._counted = [0, 0]
        if not any(first <= now < last for first, last in self._idle):
            events = max(0, round(self._rng.gauss(self._rate, self._rate**0.5)))
            share = max([self._always, *(share for first, last, share in self._episodes if first <= now < last)])
            bad = sum(self._rng.random() < share for _ in range(events))
            self._counted[0] += events - bad
            self._counted[1] += bad
        if any(first <= now < last for first, last in self._missing):
            return None
        return float(self._counted[0]), float(self._counted[1])

    def _span(self, minutes: int, longest: int = 240) -> tuple[int, int]:
        first = self._rng.randrange(minutes)
        return first, first + self._rng.randrange(1, longest)

    def _episode(self, minutes: int) -> tuple[int, int, float]:
        first, last = self._span(minutes, max(240, minutes // 2))
        return first, last, self._rng.choice((0.02, 0.05, 0.1, 0.3, 1.0))


def random_history(seed: int, objective: AnyObjective, minutes: int) -> History:
    """Make a history, which is the same for the same seed."""
    rng = random.Random(seed)
    labels = ModelLabels(f"m{seed}", "1", "stable", "base", "test")
    counters: dict[Counter, Readings] = {}
    gauges: dict[ModelLabels, Readings] = {}
    if isinstance(objective, Value):
        gauges[labels] = _gauge(rng, objective.bound, minutes)
    else:
        for shard in range(rng.choice((1, 1, 2))):
            counting = _Shard(rng, minutes, objective.budget if isinstance(objective, Ratio) else 0.0)
            born = rng.choice((0, 0, rng.randrange(minutes // 2)))
            readings = [None if minute < born else counting.minute(minute) for minute in range(minutes)]
            for which, result in enumerate((GOOD, BAD)):
                counters[Counter(objective.name, ShardLabels(labels, str(shard)), result)] = [
                    None if one is None else one[which] for one in readings
                ]
    maintained = tuple(_within(rng, minutes, 5, 180) for _ in range(rng.choice((0, 0, 1))))
    return History(labels.model, counters, gauges, minutes, maintained)


def _gauge(rng: random.Random, bound: float, minutes: int) -> Readings:
    """Make a gauge that is under its bound or at it, past it now and then, and sometimes unreadable."""
    readings: Readings = []
    while len(readings) < minutes:
        level = bound * rng.choice((0.1, 0.5, 0.99, 1.0))
        readings += [level] * rng.randrange(1, 120)
    for first, last in (_within(rng, minutes, 5, 120) for _ in range(rng.choice((0, 0, 1, 2, 3)))):
        readings[first:last] = [bound * rng.choice((1.01, 2.0, 5.0))] * (last - first)
    for first, last in (_within(rng, minutes, LEAST_GAP_MINUTES, 60) for _ in range(rng.choice((0, 0, 1)))):
        readings[first:last] = [None] * (last - first)
    return readings[:minutes]


def _within(rng: random.Random, minutes: int, least: int, most: int) -> Span:
    """Choose a span of ``least`` to ``most`` minutes."""
    first = rng.randrange(minutes)
    return first, first + rng.randrange(least, most)
