"""Tests burn rates: increases as PromQL computes them, budgets, and when a budget is at risk."""

import pickle
import random

import pytest

from calmops.objectives.evaluation.burn import SampledSpan, budget_left, burn_rate, increase, is_at_risk
from calmops.objectives.evaluation.history import TRIM_EVERY, CounterHistory, StepSums
from calmops.objectives.promises.windows import AtRisk


def rise(values: list[float], span: tuple[float, float], every_s: float = 15.0, first_s: float = 0.0) -> float | None:
    """Return the increase over a span of a counter that is read every ``every_s``."""
    history = CounterHistory(keep_s=1e9)
    for number, value in enumerate(values):
        history.append(first_s + number * every_s, value)
    return history.increase(*span)


@pytest.mark.parametrize(
    ("said", "values", "span", "expected"),
    [
        ("a steady counter, read at both ends", [0, 10, 20, 30, 40], (0, 60), 40.0),
        ("ends just off the samples are extrapolated", [100, 110, 120, 130, 140], (-10, 70), 40 * 80 / 60),
        ("far ends by half an interval only", [100, 110, 120, 130, 140], (-600, 660), 40 * 75 / 60),
        ("never below zero: the counter was born at the start", [0, 10, 20, 30, 40], (-15, 60), 40.0),
        ("a reset loses nothing that was seen", [100, 110, 5, 15, 25], (0, 60), 10 + 25),
        ("an idle counter", [7, 7, 7, 7, 7], (0, 60), 0.0),
        ("one sample says nothing", [7], (0, 60), None),
        ("none neither", [], (0, 60), None),
        ("samples outside don't count", [0, 10, 20, 30, 40], (15, 45), 20.0),
    ],
)
def test_an_increase_is_the_same_as_promql_s(
    said: str, values: list[float], span: tuple[float, float], expected: float | None
) -> None:
    assert rise(values, span) == (None if expected is None else pytest.approx(expected)), said


def test_a_history_gives_the_same_increase_after_it_dropped_old_samples() -> None:
    kept, whole = CounterHistory(keep_s=600), CounterHistory(keep_s=1e9)
    rng, value = random.Random(1), 0.0
    for number in range(3 * TRIM_EVERY):
        value = 0.0 if rng.random() < 0.01 else value + rng.randrange(5)
        for history in (kept, whole):
            history.append(number * 15, value)
        assert kept.increase(number * 15 - 600, number * 15) == whole.increase(number * 15 - 600, number * 15)


def test_step_sums_are_the_sums_of_the_steps_within_the_span() -> None:
    sums = StepSums(keep_s=3600)
    counted = [float(number % 7) for number in range(3 * TRIM_EVERY)]
    for number, value in enumerate(counted):
        sums.append(number * 60, 2 * value, value)
    last = len(counted) - 1
    assert sums.over((last - 59) * 60, last * 60) == (2 * sum(counted[-60:]), sum(counted[-60:]), 60)
    assert sums.over(last * 60 + 1, last * 60 + 100) == (0.0, 0.0, 0)


def test_coarse_step_sums_are_small_and_wrong_by_at_most_a_grain_at_the_far_end() -> None:
    month_s, hour_s = 30 * 86400, 3600
    coarse, fine = StepSums(month_s, hour_s), StepSums(month_s)
    for minute in range(40 * 24 * 60):
        for sums in (coarse, fine):
            sums.append(minute * 60, 100.0, 1.0)
    now_s = minute * 60
    rough, exact = (sums.over(now_s - month_s, now_s) for sums in (coarse, fine))
    assert 0 <= rough.steps - exact.steps <= 60 and rough.bad == rough.steps == rough.events / 100
    assert coarse.over(now_s - 59 * 60, now_s).steps >= 60, "what was counted just now is there"
    assert len(pickle.dumps(coarse)) < len(pickle.dumps(fine)) / 30


@pytest.mark.parametrize(
    ("bad", "events", "budget", "expected"),
    [(1, 100, 0.01, 1.0), (144, 1000, 0.01, 14.4), (0, 10, 0.01, 0.0), (0, 0, 0.01, None)],
)
def test_a_burn_rate_of_1_uses_up_the_budget_within_its_period(
    bad: float, events: float, budget: float, expected: float | None
) -> None:
    assert burn_rate(bad, events, budget) == (None if expected is None else pytest.approx(expected))


def test_an_hour_at_four_times_the_rate_spends_four_hours_of_a_months_budget() -> None:
    steps = 30 * 24 * 60
    left = budget_left(bad=60 * 1000 * 0.04, mean_events=1000, budget=0.01, steps=steps)
    assert left == pytest.approx(1 - 4 / (30 * 24))
    assert budget_left(bad=0, mean_events=0, budget=0.01, steps=steps) is None


@pytest.mark.parametrize(
    ("left", "rate", "expected"),
    [(0.9, 3.0, False), (0.49, 3.0, True), (0.9, 8.9, False), (0.9, 9.1, True), (-0.2, 0.1, True)],
)
def test_a_budget_is_at_risk_if_little_is_left_or_none_will_be_soon(left: float, rate: float, expected: bool) -> None:
    assert is_at_risk(left, rate, AtRisk(left=0.5, ends_within_s=3 * 86400), 30 * 86400) is expected


def test_an_increase_is_computed_without_a_history() -> None:
    assert increase(SampledSpan(0.0, 5.0, 60.0, 65.0, 5), 0.0, 60.0) == pytest.approx(60.0)
