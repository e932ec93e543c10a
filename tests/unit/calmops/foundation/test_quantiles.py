"""Percentiles of kept durations are durations that were measured."""

from hypothesis import given
from hypothesis import strategies as st

from calmops.foundation.quantiles import percentiles


@given(st.lists(st.integers(0, 10**12), min_size=1))
def test_percentiles_are_values_that_were_seen_and_in_order(durations_ns: list[int]) -> None:
    result = percentiles(durations_ns)
    values = [result.p50_ms, result.p90_ms, result.p99_ms, result.max_ms]
    assert all(value in {duration / 1e6 for duration in durations_ns} for value in values)
    assert values == sorted(value for value in values if value is not None)
    assert result.measured == len(durations_ns)


def test_nothing_measured_has_no_percentiles() -> None:
    assert percentiles([]).p50_ms is None
