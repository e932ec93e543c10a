"""The console's figures cover the time between two readings."""

import pytest

from calmops.console.live_figures import NOTHING, LiveFigures, ModelReading
from calmops.foundation.quantiles import quantile

EDGES = (0.1, 0.2, 0.4)


@pytest.mark.parametrize(
    ("buckets", "share", "expected"),
    [
        ([0, 0, 0, 0], 0.5, None),
        ([10, 0, 0, 0], 0.5, 0.05),
        ([5, 0, 5, 0], 0.75, 0.3),
        ([5, 5, 0, 0], 0.5, 0.1),
        ([1, 0, 0, 9], 0.5, 0.4),
    ],
)
def test_quantiles_are_interpolated_linearly_within_a_bucket(
    buckets: list[int], share: float, expected: float | None
) -> None:
    assert quantile(EDGES, buckets, share) == (None if expected is None else pytest.approx(expected))


def reading(generated: int, failed: int, quick: int) -> ModelReading:
    gaps, ttft = list(NOTHING.inter_token), list(NOTHING.ttft)
    gaps[0] = quick
    return ModelReading(
        gaps, ttft, generated, {"completed": 9 * failed, "failed": failed, "client_cancelled": 50 * failed}, 3, 1
    )


def test_rates_and_shares_cover_the_span_and_not_all_time() -> None:
    figures = LiveFigures(span_s=10)
    figures.read(0.0, {"m": reading(100_000, 900, 5)})
    figures.read(5.0, {"m": reading(100_000, 900, 5)})
    figures.read(15.0, {"m": reading(101_000, 901, 25)})
    (shown,) = figures.shown()
    assert shown["tokens_per_s"] == 100
    assert shown["requests_per_s"] == 6
    assert shown["failed_share"] == pytest.approx(10), "requests that a client cancelled don't count"
    assert shown["itl_p50_ms"] == 5
    assert shown["ttft_p99_ms"] is None
    assert (shown["running"], shown["waiting"]) == (3, 1)


def test_a_meter_that_begins_again_at_zero_gives_no_negative_rate() -> None:
    figures = LiveFigures()
    figures.read(0.0, {"m": reading(5_000, 7, 70)})
    assert figures.shown() == []
    figures.read(1.0, {"m": reading(40, 1, 4)})
    assert figures.shown()[0]["tokens_per_s"] == 40
