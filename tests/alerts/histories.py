"""Random histories of good and bad events, a reading a minute: outages, slow burns, idle hours, restarts, missing readings."""

import random
from typing import NamedTuple

from calmops.foundation.metric_names import BAD, GOOD
from calmops.objectives.counting import Counter

Readings = dict[Counter, list[float | None]]  # one a minute; None: it couldn't be had


class History(NamedTuple):
    """One model's counters."""

    model: str
    shards: tuple[str, ...]
    readings: Readings
    minutes: int


class _Shard:
    """What one shard counts, minute by minute."""

    def __init__(self, rng: random.Random, minutes: int) -> None:
        self._rng = rng
        self._rate = rng.choice((0.3, 2, 20, 200))
        self._episodes = [self._episode(minutes) for _ in range(rng.choice((0, 0, 1, 1, 2, 4)))]
        self._idle = [self._span(minutes) for _ in range(rng.choice((0, 0, 1)))]
        self._always = rng.choice((0.0, 0.0, 0.0005, 0.005, 0.015))
        self._restarts = {rng.randrange(minutes) for _ in range(rng.choice((0, 0, 1)))}
        self._missing = [self._span(minutes, 30) for _ in range(rng.choice((0, 0, 1)))]
        self._counted = [0, 0]

    def minute(self, now: int) -> tuple[float, float] | None:
        """Good and bad so far; None if they can't be read."""
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


def random_history(seed: int, objective: str, minutes: int) -> History:
    """The same for the same seed."""
    rng = random.Random(seed)
    model, shards = f"m{seed}", tuple(str(shard) for shard in range(rng.choice((1, 1, 2))))
    readings: Readings = {}
    for shard in shards:
        counting, born = _Shard(rng, minutes), rng.choice((0, 0, rng.randrange(minutes // 2)))
        told = [None if minute < born else counting.minute(minute) for minute in range(minutes)]
        labels = (model, "1", "stable", "base", "test", shard)
        for which, result in enumerate((GOOD, BAD)):
            readings[Counter(objective, labels, result)] = [None if one is None else one[which] for one in told]
    return History(model, shards, readings, minutes)
