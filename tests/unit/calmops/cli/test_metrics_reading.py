"""Figures come from two readings of /metrics, pieces from lines of a stream."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calmops.cli.metrics_reading import Reading, bucket_quantile, figures
from calmops.cli.sse_pieces import piece

EDGES = [0.01, 0.1, 1.0, math.inf]


@given(st.lists(st.integers(0, 1000), min_size=4, max_size=4), st.floats(0.01, 1.0))
def test_a_quantile_lies_within_its_bucket_and_never_past_the_last_edge(steps: list[int], share: float) -> None:
    counts = [sum(steps[: index + 1]) for index in range(4)]
    value_s = bucket_quantile(dict(zip(EDGES, counts, strict=True)), share)
    if counts[-1] == 0:
        assert value_s is None
    else:
        assert value_s is not None
        assert 0 <= value_s <= 1.0
        holding = next(index for index, count in enumerate(counts) if count >= share * counts[-1] and count > 0)
        assert math.isinf(EDGES[holding]) or value_s <= EDGES[holding] + 1e-12


def test_rates_are_over_the_window_and_percentiles_over_its_events() -> None:
    old = {0.01: 100.0, 0.1: 100.0, math.inf: 100.0}
    new = {0.01: 100.0, 0.1: 110.0, math.inf: 110.0}
    before, after = Reading({"m": 10.0}, {"m": old}, {"m": old}), Reading({"m": 30.0}, {"m": new}, {"m": new})
    line = figures(before, after, 2.0)[0]
    assert line.tokens_per_s == 10.0
    assert line.over == "window"
    assert line.itl_p50_ms == pytest.approx(55.0)


def test_an_idle_window_falls_back_to_the_whole_time() -> None:
    buckets = {0.01: 100.0, math.inf: 100.0}
    reading = Reading({"m": 10.0}, {"m": buckets}, {"m": buckets})
    line = figures(reading, reading, 1.0)[0]
    assert (line.tokens_per_s, line.over) == (0.0, "since start")
    assert line.ttft_p99_ms == pytest.approx(9.9)


def test_a_restarted_meter_gives_no_negative_rate() -> None:
    before = Reading({"m": 500.0}, {"m": {math.inf: 50.0}}, {"m": {math.inf: 50.0}})
    after = Reading({"m": 5.0}, {"m": {math.inf: 2.0}}, {"m": {math.inf: 2.0}})
    assert figures(before, after, 1.0)[0].tokens_per_s == 0.0


@pytest.mark.parametrize("line", [": keep-alive", "", "id: 0:1:ab", "event: x"])
def test_lines_without_data_give_no_piece(line: str) -> None:
    assert piece(line) is None
