"""Shows how prices are read from a file, and what a thousand tokens cost at these prices."""

from pathlib import Path

import pytest

from calmops.foundation.errors import ConfigError
from calmops.foundation.model_labels import ModelPlace
from calmops.objectives.evaluation.costs import Costs, Usage
from calmops.objectives.promises.prices import Owned, Price, Prices, Reserved, read_prices

PROD, TEST = ModelPlace("m", "production"), ModelPlace("m", "test")


def prices(tmp_path: Path, text: str) -> Prices:
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    return read_prices(path)


def test_a_file_holds_every_way_of_paying(tmp_path: Path) -> None:
    read = prices(tmp_path, """
currency: EUR
prices:
  - {model: m, environment: production, on_demand_per_hour: 4, reserved: {replicas: 2, per_hour: 2.5}}
  - {environment: test, owned: {replicas: 1, price: 8760, lasts_days: 365, running_per_hour: 0.5}}
  - {on_demand_per_hour: 1}
""")  # fmt: skip
    price = read.of("m", "production")
    assert price is not None
    assert price.per_hour(3) == {"owned": 0, "reserved": 5, "on_demand": 4}
    assert read.of("m", "test") == Price(
        environment="test", owned=Owned(replicas=1, price=8760, lasts_days=365, running_per_hour=0.5)
    )
    assert read.of("other", "staging") == Price(on_demand_per_hour=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("currency: euro\n", "prices.yaml:1: currency: "),
        (
            "currency: EUR\nprices:\n  - {model: m}\n",
            "prices.yaml:3: prices[0]: names no price; give it on_demand_per_hour, reserved or owned",
        ),
        ("currency: EUR\nprices:\n  - {on_demand_per_hour: -1}\n", "prices.yaml:3: prices[0].on_demand_per_hour: "),
        (
            "currency: EUR\nprices:\n  - {on_demand_per_hour: 1}\n  - {on_demand_per_hour: 2}\n",
            "prices.yaml:4: prices[1]: model any in environment any has a price already",
        ),
        ("currency: EUR\nprices:\n  - {hourly: 1}\n", "prices.yaml:3: prices[0].hourly: "),
    ],
)
def test_each_problem_of_a_file_is_reported_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        prices(tmp_path, text)
    assert str(refused.value).startswith(message)


def test_commitments_are_paid_for_whether_idle_or_not_and_the_rest_on_demand() -> None:
    price = Price(
        on_demand_per_hour=4,
        reserved=Reserved(replicas=2, per_hour=3),
        owned=Owned(replicas=1, price=2400, lasts_days=100),
    )
    assert price.per_hour(0) == {"owned": 1, "reserved": 6, "on_demand": 0}
    assert price.per_hour(3) == {"owned": 1, "reserved": 6, "on_demand": 0}
    assert price.per_hour(5) == {"owned": 1, "reserved": 6, "on_demand": 8}


def test_a_thousand_tokens_cost_an_hours_money_over_the_tokens_delivered_in_it() -> None:
    costs = Costs(Prices(currency="EUR", prices=(Price(on_demand_per_hour=3.0),)))
    for minute in range(121):
        costs.read(60.0 * minute, {PROD: Usage(2 if minute <= 60 else 4, 500 * minute), TEST: Usage(1, 0)})
    busy, idle = (costs.spent()[place] for place in (PROD, TEST))
    assert busy is not None
    assert idle is not None
    assert busy.money["on_demand"] == pytest.approx(12)
    assert busy.tokens == 30_000
    assert busy.per_1k_tokens == pytest.approx(0.4)
    assert idle.per_1k_tokens is None, "the replica costs money, but no token was delivered"


def test_the_cost_of_a_replica_without_a_price_is_unknown() -> None:
    costs = Costs(Prices(currency="EUR", prices=(Price(model="m", reserved=Reserved(replicas=1, per_hour=1)),)))
    for at_s, replicas in ((0.0, 1), (60.0, 2)):
        costs.read(at_s, {PROD: Usage(replicas, 10_000), ModelPlace("other", "test"): Usage(1, 10_000)})
    assert costs.spent() == {PROD: None, ModelPlace("other", "test"): None}


def test_a_meter_that_counts_again_from_zero_loses_no_token() -> None:
    costs = Costs(Prices(currency="EUR", prices=(Price(on_demand_per_hour=1),)))
    for at_s, tokens in ((0.0, 90_000), (60.0, 95_000), (120.0, 2_000)):
        costs.read(at_s, {PROD: Usage(1, tokens)})
    spent = costs.spent()[PROD]
    assert spent is not None and spent.tokens == 7_000


def test_a_place_where_nothing_ran_costs_nothing_whatever_is_reserved() -> None:
    costs = Costs(Prices(currency="EUR", prices=(Price(reserved=Reserved(replicas=4, per_hour=2.0)),)))
    unused, served = ModelPlace("unknown", "prod"), ModelPlace("m", "prod")
    for at_s in (0.0, 1800.0, 3600.0):
        costs.read(at_s, {unused: Usage(0, 0), served: Usage(2, int(at_s) * 10)})
    spent = costs.spent()
    idle, busy = spent[unused], spent[served]
    assert idle is not None and busy is not None
    assert not idle.money and not idle.per_hour
    assert sum(busy.per_hour.values()) == 8.0
