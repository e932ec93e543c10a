"""Computes what 1,000 delivered tokens cost over the last hour: the money spent on a model's replicas over its tokens.

An idle replica costs as much as a busy one, so the cost of a token falls as traffic rises. It doesn't depend on which
API key asked for the token: a key's share of the money is its share of the tokens. Knows neither meter nor roster.
"""

from collections import Counter, deque
from collections.abc import Mapping
from typing import Literal, NamedTuple

from calmops.foundation.model_labels import ModelPlace
from calmops.objectives.promises.prices import Prices, Pricing

SPAN_S = 3600.0
HOUR_NS = 3600 * 10**9
LEAST_TOKENS = 1000  # with fewer, a price per 1,000 tokens says nothing


class Usage(NamedTuple):
    """Says how many replicas run at a place, and how many tokens they delivered since the meter began."""

    replicas: int
    tokens: int


class Spent(NamedTuple):
    """Holds the money spent at one place over a span, by how it is paid for, and the tokens delivered for it."""

    money: dict[Pricing, float]
    tokens: int
    per_hour: dict[Pricing, float]  # the cost of the replicas that run now

    @property
    def per_1k_tokens(self) -> float | None:
        """Return the money per 1,000 tokens; None for too few tokens."""
        return 1000 * sum(self.money.values()) / self.tokens if self.tokens >= LEAST_TOKENS else None


class _Slice(NamedTuple):
    """Holds what ran between two readings."""

    end_s: float
    lasted_ns: int
    usage: Mapping[ModelPlace, Usage]  # tokens: those of this slice


class _PlaceSums:
    """Sums the slices of one place as they come and go. The numbers are whole, so that a sum returns to exactly 0."""

    def __init__(self) -> None:
        self.tokens = 0
        self.lasted_ns: Counter[int] = Counter()  # by how many replicas ran
        self._slices: Counter[int] = Counter()  # by how many replicas ran

    def count(self, usage: Usage, lasted_ns: int, slices: Literal[1, -1]) -> None:
        """Add one slice, or take one off."""
        self.tokens += slices * usage.tokens
        self._slices[usage.replicas] += slices
        self.lasted_ns[usage.replicas] += slices * lasted_ns
        if not self._slices[usage.replicas]:
            del self._slices[usage.replicas], self.lasted_ns[usage.replicas]


class Costs:
    """Remembers an hour of readings. Owned by one thread. ``prices`` may be replaced: the money spent follows them."""

    def __init__(self, prices: Prices, span_s: float = SPAN_S) -> None:
        self.prices = prices
        self._span_s = span_s
        self._slices: deque[_Slice] = deque()
        self._sums: dict[ModelPlace, _PlaceSums] = {}
        self._last: tuple[float, Mapping[ModelPlace, Usage]] | None = None

    def read(self, at_s: float, usage: Mapping[ModelPlace, Usage]) -> None:
        """Take one reading, later than the last. What runs now is taken to have run since the last one."""
        if self._last is not None:
            last_s, before = self._last
            since = {place: Usage(now.replicas, _rise(before.get(place), now)) for place, now in usage.items()}
            self._slices.append(_Slice(at_s, round((at_s - last_s) * 1e9), since))
            for place, used in since.items():
                self._sums.setdefault(place, _PlaceSums()).count(used, self._slices[-1].lasted_ns, 1)
        self._last = (at_s, dict(usage))
        while self._slices and self._slices[0].end_s <= at_s - self._span_s:
            self._forget(self._slices.popleft())

    def spent(self) -> dict[ModelPlace, Spent | None]:
        """Return what was spent at every place of the last reading; None where the replicas have no price.

        Where no replica ran within the span, no money was spent.
        """
        return {
            place: self._spent(place, usage.replicas) for place, usage in (self._last[1] if self._last else {}).items()
        }

    def _forget(self, old: _Slice) -> None:
        """Take a slice off the sums of its places."""
        for place, used in old.usage.items():
            sums = self._sums[place]
            sums.count(used, old.lasted_ns, -1)
            if not sums.lasted_ns:
                del self._sums[place]

    def _spent(self, place: ModelPlace, replicas: int) -> Spent | None:
        price, sums = self.prices.of(*place), self._sums.get(place)
        if price is None:
            return None
        # Nothing runs there: nobody serves the model, or the environment has another name.
        if sums is None or not any(sums.lasted_ns):
            return Spent({}, 0, {})
        money: dict[Pricing, float] = {}
        for number, lasted_ns in sums.lasted_ns.items():
            per_hour = price.per_hour(number)
            if per_hour is None:
                return None
            for pricing, paid in per_hour.items():
                money[pricing] = money.get(pricing, 0.0) + paid * lasted_ns / HOUR_NS
        return Spent(money, sums.tokens, price.per_hour(replicas) or {})


def _rise(before: Usage | None, now: Usage) -> int:
    """Return the tokens since the reading before; a fall means that the meter has begun to count from 0 again."""
    if before is None:
        return 0
    return now.tokens - before.tokens if now.tokens >= before.tokens else now.tokens
