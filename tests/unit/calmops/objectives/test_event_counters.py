"""Tests how the meter's tallies become good and bad events."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from calmops.foundation.metric_names import BAD, GOOD, INTER_TOKEN_EDGES_S
from calmops.foundation.model_labels import ModelLabels, ShardLabels
from calmops.objectives.evaluation.event_counters import Counter, Ended, Tallies, Timed, counters
from calmops.objectives.promises.objective import Ratio, Source, Value, Zero

COMMON = {"title": "O", "says": "It holds.", "alert": "OBroken", "team": "t", "escalation": "e"}
QUICK = Ratio(
    name="quick", **COMMON, severity="page", source=Source(events="inter_token_latency", within_s=0.3),
    target=0.99, period_s=86400, least_events=1,
)  # fmt: skip
CLEAN = Zero(name="clean", **COMMON, severity="page", source=Source(events="pii_scans"))
CHEAP = Value(
    name="cheap", **COMMON, severity="page", gauge="calmops_cost_per_1k_tokens", op="lte", bound=2.0, for_s=60
)
HERE = ShardLabels(ModelLabels("m", "1", "stable", "base", "test"), "0")


@given(some.lists(some.integers(0, 1000), min_size=len(INTER_TOKEN_EDGES_S) + 1, max_size=len(INTER_TOKEN_EDGES_S) + 1))
def test_events_within_the_threshold_are_good_and_none_is_lost(buckets: list[int]) -> None:
    counted = counters([QUICK], {"inter_token_latency": {HERE: Timed(buckets)}})
    threshold = INTER_TOKEN_EDGES_S.index(0.3)
    assert counted[Counter("quick", HERE, GOOD)] == sum(buckets[: threshold + 1])
    assert sum(counted.values()) == sum(buckets)


def test_both_results_are_counted_from_0_so_that_the_first_bad_event_is_a_rise() -> None:
    tallies: Tallies = {"pii_scans": {HERE: Ended(0, 0)}, "inter_token_latency": {}, "requests": {HERE: Ended(3, 1)}}
    assert counters([QUICK, CLEAN, CHEAP], tallies) == {Counter("clean", HERE, GOOD): 0, Counter("clean", HERE, BAD): 0}


@pytest.mark.parametrize(
    "tally",
    [Timed([1, 2]), Timed([0] * len(INTER_TOKEN_EDGES_S)), Ended(1, 1)],
    ids=["two buckets", "no last one", "not timed"],
)
def test_a_tally_of_another_kind_is_refused(tally: Timed | Ended) -> None:
    with pytest.raises(AssertionError, match="inter_token_latency"):
        counters([QUICK], {"inter_token_latency": {HERE: tally}})
