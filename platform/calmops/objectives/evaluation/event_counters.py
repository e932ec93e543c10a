"""Judges what the meter has counted: how many events were good and how many bad, for every objective.

The meter counts once, in histograms and by outcome; good events are read off those. So every objective's total is the
meter's own, and a new objective looks back as far as the meter does. Knows no record and no alert.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from calmops.foundation.metric_names import BAD, GOOD
from calmops.foundation.model_labels import ShardLabels
from calmops.objectives.promises.objective import COUNTED, AnyObjective, Source, Value


class Counter(NamedTuple):
    """Names one counter of EVENTS_SERIES."""

    objective: str
    labels: ShardLabels
    result: str  # GOOD or BAD


class Timed(NamedTuple):
    """Holds how long events took: how many there are in each bucket of COUNTED's edges, the last being +Inf."""

    buckets: Sequence[int]


class Ended(NamedTuple):
    """Holds how events ended."""

    good: int
    bad: int


Tally = Timed | Ended
Tallies = Mapping[str, Mapping[ShardLabels, Tally]]  # by a key of COUNTED


def counters(objectives: Sequence[AnyObjective], tallies: Tallies) -> dict[Counter, int]:
    """Return both counters of every objective under every label set that was seen, those at 0 included.

    AssertionError for a tally whose kind or number of buckets isn't that of its source: the meter's own mistake.
    """
    values: dict[Counter, int] = {}
    for objective in objectives:
        if isinstance(objective, Value):
            continue
        for labels, tally in tallies.get(objective.source.events, {}).items():
            ended = _judge(objective.source, tally)
            values[Counter(objective.name, labels, GOOD)] = ended.good
            values[Counter(objective.name, labels, BAD)] = ended.bad
    return values


def _judge(source: Source, tally: Tally) -> Ended:
    """Return how many events were good and how many bad."""
    if isinstance(tally, Ended):
        assert source.within_s is None, f"{source.events} are timed, but the meter gave how they ended"
        return tally
    edges = COUNTED[source.events]
    assert source.within_s in edges, f"{source.events}: {source.within_s} s isn't one of its edges"
    assert len(tally.buckets) == len(edges) + 1, f"{source.events}: {len(tally.buckets)} buckets for {len(edges)} edges"
    good = sum(tally.buckets[: edges.index(source.within_s) + 1])
    return Ended(good, sum(tally.buckets) - good)
