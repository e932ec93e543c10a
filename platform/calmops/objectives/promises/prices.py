"""Reads what a replica costs from prices.yaml (the guide's M6: reserved against on demand, amortized over tokens).

Replicas that were bought or reserved are paid for whether they are used or not; replicas beyond them cost the
on-demand price. Knows neither counts nor tokens: evaluation/costs.py does.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from calmops.foundation.config_file import Problem, parse

HOURS_OF_A_DAY = 24.0
Pricing = Literal["owned", "reserved", "on_demand"]

PerHour = Annotated[float, Meta(ge=0, description="money per hour, for one replica")]
Replicas = Annotated[int, Meta(ge=1, description="a number of replicas, at least 1")]


class Owned(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prices replicas on bought hardware: its price, spread evenly over its life, and what it costs to run."""

    replicas: Replicas
    price: Annotated[float, Meta(ge=0, description="money, for the hardware of one replica")]
    lasts_days: Annotated[float, Meta(gt=0, description="days over which that price is spread")]
    running_per_hour: PerHour = 0.0

    @property
    def per_hour(self) -> float:
        """Return the money per hour for one replica."""
        return self.price / (self.lasts_days * HOURS_OF_A_DAY) + self.running_per_hour


class Reserved(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prices replicas that were committed to."""

    replicas: Replicas
    per_hour: PerHour


class Price(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prices one model's replicas in one environment.

    ``model`` or ``environment`` None stands for every one that has no price of its own.
    """

    model: Annotated[str, Meta(min_length=1)] | None = None
    environment: Annotated[str, Meta(min_length=1)] | None = None
    on_demand_per_hour: PerHour | None = None
    reserved: Reserved | None = None
    owned: Owned | None = None

    def per_hour(self, replicas: int) -> dict[Pricing, float] | None:
        """Return what ``replicas`` of them cost per hour, by how they are paid for; None if some have no price."""
        owned, reserved = (one.replicas if one else 0 for one in (self.owned, self.reserved))
        beyond = max(0, replicas - owned - reserved)
        if beyond and self.on_demand_per_hour is None:
            return None
        return {
            "owned": self.owned.per_hour * owned if self.owned else 0.0,
            "reserved": self.reserved.per_hour * reserved if self.reserved else 0.0,
            "on_demand": beyond * (self.on_demand_per_hour or 0.0),
        }


class Prices(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Holds the content of prices.yaml."""

    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$", description="three capital letters, as in EUR")]
    prices: tuple[Price, ...] = ()

    def of(self, model: str, environment: str) -> Price | None:
        """Return the best match: for the model in the environment, for the model, for the environment, or for all."""
        for wanted in ((model, environment), (model, None), (None, environment), (None, None)):
            for price in self.prices:
                if (price.model, price.environment) == wanted:
                    return price
        return None


def read_prices(path: Path) -> Prices:
    """Read prices.yaml. Raises ConfigError, one line per problem."""
    return msgspec.convert(parse(path, Prices, _contradictions), Prices)


def _contradictions(tree: dict[str, Any]) -> list[Problem]:
    prices: Sequence[dict[str, Any]] = tree.get("prices", ())
    problems, seen = [], set()
    for index, entry in enumerate(prices):
        where, place = f"prices[{index}]", (entry.get("model"), entry.get("environment"))
        if place in seen:
            model, environment = (name or "any" for name in place)
            problems.append(
                Problem(where, f"model {model} in environment {environment} has a price already; keep one of them")
            )
        seen.add(place)
        if not any(entry.get(key) is not None for key in ("on_demand_per_hour", "reserved", "owned")):
            problems.append(Problem(where, "names no price; give it on_demand_per_hour, reserved or owned"))
    return problems
