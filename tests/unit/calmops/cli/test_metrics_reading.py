import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calmops.cli.latency import spread
from calmops.cli.metrics_reading import Reading, figures, share_below
from calmops.cli.sse_pieces import piece

EDGES = [0.01, 0.1, 1.0, math.inf]


@given(st.lists(st.integers(0, 1000), min_size=4, max_size=4), st.floats(0.01, 1.0))
def test_a_quantile_lies_within_its_bucket_and_never_past_the_last_edge(steps: list[int], share: float) -> None:
    counts = [sum(steps[: index + 1]) for index in range(4)]
    found = share_below(dict(zip(EDGES, counts, strict=True)), share)
    if counts[-1] == 0:
        assert found is None
    else:
        assert found is not None
        assert 0 <= found <= 1.0
        holding = next(index for index, count in enumerate(counts) if count >= share * counts[-1] and count > 0)
        assert math.isinf(EDGES[holding]) or found <= EDGES[holding] + 1e-12


def test_rates_are_over_the_window_and_percentiles_over_its_events() -> None:
    old = {0.01: 100.0, 0.1: 100.0, math.inf: 100.0}
    new = {0.01: 100.0, 0.1: 110.0, math.inf: 110.0}
    before, after = Reading({"m": 10.0}, {"m": old}, {"m": old}), Reading({"m": 30.0}, {"m": new}, {"m": new})
    found = figures(before, after, 2.0)[0]
    assert found.tokens_per_s == 10.0
    assert found.over == "window"
    assert found.itl_p50_ms == pytest.approx(55.0)


def test_an_idle_window_falls_back_to_the_whole_time() -> None:
    buckets = {0.01: 100.0, math.inf: 100.0}
    reading = Reading({"m": 10.0}, {"m": buckets}, {"m": buckets})
    found = figures(reading, reading, 1.0)[0]
    assert (found.tokens_per_s, found.over) == (0.0, "since start")
    assert found.ttft_p99_ms == pytest.approx(9.9)


def test_a_meter_that_began_anew_gives_no_negative_rate() -> None:
    before = Reading({"m": 500.0}, {"m": {math.inf: 50.0}}, {"m": {math.inf: 50.0}})
    after = Reading({"m": 5.0}, {"m": {math.inf: 2.0}}, {"m": {math.inf: 2.0}})
    assert figures(before, after, 1.0)[0].tokens_per_s == 0.0


@given(st.lists(st.integers(0, 10**12), min_size=1))
def test_percentiles_are_values_that_were_seen_and_in_order(durations_ns: list[int]) -> None:
    found = spread(durations_ns)
    values = [found.p50_ms, found.p90_ms, found.p99_ms, found.max_ms]
    assert all(value in {duration / 1e6 for duration in durations_ns} for value in values)
    assert values == sorted(value for value in values if value is not None)
    assert found.measured == len(durations_ns)


def test_nothing_measured_has_no_percentiles() -> None:
    assert spread([]).p50_ms is None


@pytest.mark.parametrize("line", [": keep-alive", "", "id: 0:1:ab", "event: x"])
def test_lines_that_carry_no_data_say_nothing(line: str) -> None:
    assert piece(line) is None
