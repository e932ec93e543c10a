"""Tests what tokens cost: running sums equal the sums over all readings of the span, however long it goes on."""

import itertools
import random

import pytest

from calmops.foundation.model_labels import ModelPlace
from calmops.objectives.evaluation.costs import Costs, Usage
from calmops.objectives.promises.prices import Price, Prices, Reserved

EURO = Prices(currency="EUR", prices=(Price(on_demand_per_hour=3.0, reserved=Reserved(replicas=1, per_hour=2.0)),))
PLACES = [ModelPlace("m", "production"), ModelPlace("m", "test"), ModelPlace("n", "production")]


def test_running_sums_are_those_of_the_readings_within_the_span() -> None:
    drawn = random.Random(5)
    costs, at_s, delivered = Costs(EURO, span_s=50.0), 0.0, dict.fromkeys(PLACES, 0)
    readings: list[tuple[float, dict[ModelPlace, Usage]]] = []
    for _ in range(600):
        at_s += drawn.choice((0.5, 1.0, 7.0))
        here = drawn.sample(PLACES, drawn.randint(1, 3))
        for place in here:
            delivered[place] += drawn.randint(0, 40)
        readings.append((at_s, {place: Usage(drawn.choice((0, 0, 1, 2, 5)), delivered[place]) for place in here}))
        costs.read(*readings[-1])
        for place, spent in costs.spent().items():
            paid, tokens, ran = spent_since(readings, place, at_s - 50.0)
            assert spent is not None
            assert sum(spent.money.values()) == pytest.approx(paid if ran else 0.0)
            assert spent.tokens == (tokens if ran else 0)


def spent_since(
    readings: list[tuple[float, dict[ModelPlace, Usage]]], place: ModelPlace, since_s: float
) -> tuple[float, int, bool]:
    """Return money and tokens of the readings after ``since_s``, and whether any replica ran."""
    price, paid, tokens, ran = EURO.prices[0], 0.0, 0, False
    for (before_s, before), (now_s, now) in itertools.pairwise(readings):
        if now_s > since_s and place in now:
            paid += sum((price.per_hour(now[place].replicas) or {}).values()) * (now_s - before_s) / 3600
            tokens += now[place].tokens - before[place].tokens if place in before else 0
            ran |= now[place].replicas > 0
    return paid, tokens, ran


def test_a_place_is_forgotten_once_the_span_has_passed_it() -> None:
    costs = Costs(EURO, span_s=10.0)
    for at_s in range(100):
        costs.read(float(at_s), {PLACES[0]: Usage(1, at_s)} if at_s < 50 else {PLACES[1]: Usage(1, at_s)})
    assert list(costs._sums) == PLACES[1:2]
    assert len(costs._slices) == 10


def test_prices_that_are_read_later_apply_to_what_ran_before() -> None:
    costs = Costs(Prices(currency="XXX"))
    for at_s in (0.0, 3600.0):
        costs.read(at_s, {PLACES[0]: Usage(2, int(at_s))})
    assert costs.spent() == {PLACES[0]: None}
    costs.prices = EURO
    spent = costs.spent()[PLACES[0]]
    assert spent is not None and sum(spent.money.values()) == pytest.approx(5.0)
