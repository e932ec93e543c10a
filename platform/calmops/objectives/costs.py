"""What 1,000 delivered tokens cost, over the last hour: the money spent on a model's replicas over the tokens they made.

An idle replica costs as much as a busy one, so what tokens cost falls as traffic rises. Whose key asked for them doesn't
change what a token costs: a key's share of the money is its share of the tokens.
"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from calmops.objectives.prices import Place, Prices, Pricing

SPAN_S = 3600.0
LEAST_TOKENS = 1000  # under which a price a thousand says nothing


class Usage(NamedTuple):
    """What runs at a place, and what it has delivered since the meter began."""

    replicas: int
    tokens: int


class Spent(NamedTuple):
    """A span's money at one place, by how it is paid for, and the tokens delivered for it."""

    money: dict[Pricing, float]
    tokens: int
    an_hour: dict[Pricing, float]  # what runs now costs

    @property
    def per_1k_tokens(self) -> float | None:
        """Money; None for too few tokens."""
        return 1000 * sum(self.money.values()) / self.tokens if self.tokens >= LEAST_TOKENS else None


class _Slice(NamedTuple):
    end_s: float
    lasted_s: float
    usage: Mapping[Place, Usage]  # tokens: those of this slice


class Costs:
    """Remembers an hour of readings. Owned by one thread."""

    def __init__(self, prices: Prices, span_s: float = SPAN_S) -> None:
        self._prices = prices
        self._span_s = span_s
        self._slices: deque[_Slice] = deque()
        self._last: tuple[float, Mapping[Place, Usage]] | None = None

    def read(self, at_s: float, usage: Mapping[Place, Usage]) -> None:
        """One reading, later than the last. What runs now is taken to have run since then."""
        if self._last is not None:
            last_s, before = self._last
            made = {place: Usage(now.replicas, _rise(before.get(place), now)) for place, now in usage.items()}
            self._slices.append(_Slice(at_s, at_s - last_s, made))
        self._last = (at_s, dict(usage))
        while self._slices and self._slices[0].end_s <= at_s - self._span_s:
            self._slices.popleft()

    def spent(self) -> dict[Place, Spent | None]:
        """Of every place that was read last; None where what runs has no price. Where nothing ran within the span nothing was spent."""
        return {place: self._spent(place) for place in (self._last[1] if self._last else ())}

    def _spent(self, place: Place) -> Spent | None:
        price = self._prices.of(*place)
        if price is None:
            return None
        if not any(place in one.usage and one.usage[place].replicas for one in self._slices):
            return Spent({}, 0, {})  # nothing ran there within the span: a model that nobody serves, an environment of another name
        money: dict[Pricing, float] = {}
        tokens = 0
        for one in self._slices:
            usage = one.usage.get(place)
            if usage is None:
                continue
            an_hour = price.per_hour(usage.replicas)
            if an_hour is None:
                return None
            for pricing, paid in an_hour.items():
                money[pricing] = money.get(pricing, 0.0) + paid * one.lasted_s / 3600.0
            tokens += usage.tokens
        return Spent(money, tokens, price.per_hour(self._last[1][place].replicas) or {} if self._last else {})


def _rise(before: Usage | None, now: Usage) -> int:
    """Tokens since the reading before; a fall means that the meter counts anew."""
    if before is None:
        return 0
    return now.tokens - before.tokens if now.tokens >= before.tokens else now.tokens
