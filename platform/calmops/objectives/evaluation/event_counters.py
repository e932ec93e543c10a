"""What the meter has counted, judged: of every objective, how many events were good and how many bad.

The meter counts once, in histograms and by outcome; what is good is read off those, so that an objective's total is the
meter's own, whatever the objective, and a new objective looks back as far as the meter does.
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
    """How long events took: how many ended within each edge of COUNTED but not the one before; the last took longer."""

    buckets: Sequence[int]


class Ended(NamedTuple):
    """How events ended."""

    good: int
    bad: int


Tally = Timed | Ended
Tallies = Mapping[str, Mapping[ShardLabels, Tally]]  # by a key of COUNTED


def counters(objectives: Sequence[AnyObjective], tallies: Tallies) -> dict[Counter, int]:
    """Both counters of every objective under all labels that were seen, those that are 0 included.

    AssertionError for a tally whose kind or number of buckets isn't that of its source: the meter's own mistake.
    """
    counted: dict[Counter, int] = {}
    for objective in objectives:
        if isinstance(objective, Value):
            continue
        for labels, tally in tallies.get(objective.source.events, {}).items():
            judged = _judged(objective.source, tally)
            counted[Counter(objective.name, labels, GOOD)] = judged.good
            counted[Counter(objective.name, labels, BAD)] = judged.bad
    return counted


def _judged(source: Source, tally: Tally) -> Ended:
    """Good ones and bad ones."""
    if isinstance(tally, Ended):
        assert source.within_s is None, f"{source.events} are timed: the meter gave how they ended"
        return tally
    edges = COUNTED[source.events]
    assert source.within_s in edges, f"{source.events}: {source.within_s} s isn't one of its edges"
    assert len(tally.buckets) == len(edges) + 1, f"{source.events}: {len(tally.buckets)} buckets for {len(edges)} edges"
    good = sum(tally.buckets[: edges.index(source.within_s) + 1])
    return Ended(good, sum(tally.buckets) - good)
