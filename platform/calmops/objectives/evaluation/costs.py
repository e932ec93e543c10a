"""What 1,000 delivered tokens cost, over the last hour: the money spent on a model's replicas over the tokens they made.

An idle replica costs as much as a busy one, so what tokens cost falls as traffic rises. Whose key asked for them doesn't
change what a token costs: a key's share of the money is its share of the tokens.
"""

from collections import Counter, deque
from collections.abc import Mapping
from typing import Literal, NamedTuple

from calmops.foundation.model_labels import ModelPlace
from calmops.objectives.promises.prices import Prices, Pricing

SPAN_S = 3600.0
HOUR_NS = 3600 * 10**9
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
    lasted_ns: int
    usage: Mapping[ModelPlace, Usage]  # tokens: those of this slice


class _Ran:
    """The slices of one place, summed as they come and go. Whole numbers, so that what was added is taken off to nothing."""

    def __init__(self) -> None:
        self.tokens = 0
        self.lasted_ns: Counter[int] = Counter()  # by how many replicas ran
        self._slices: Counter[int] = Counter()  # likewise

    def count(self, usage: Usage, lasted_ns: int, slices: Literal[1, -1]) -> None:
        """One slice more, or one less."""
        self.tokens += slices * usage.tokens
        self._slices[usage.replicas] += slices
        self.lasted_ns[usage.replicas] += slices * lasted_ns
        if not self._slices[usage.replicas]:
            del self._slices[usage.replicas], self.lasted_ns[usage.replicas]


class Costs:
    """Remembers an hour of readings. Owned by one thread. ``prices`` may be set anew: what was spent follows."""

    def __init__(self, prices: Prices, span_s: float = SPAN_S) -> None:
        self.prices = prices
        self._span_s = span_s
        self._slices: deque[_Slice] = deque()
        self._ran: dict[ModelPlace, _Ran] = {}
        self._last: tuple[float, Mapping[ModelPlace, Usage]] | None = None

    def read(self, at_s: float, usage: Mapping[ModelPlace, Usage]) -> None:
        """One reading, later than the last. What runs now is taken to have run since then."""
        if self._last is not None:
            last_s, before = self._last
            made = {place: Usage(now.replicas, _rise(before.get(place), now)) for place, now in usage.items()}
            self._slices.append(_Slice(at_s, round((at_s - last_s) * 1e9), made))
            for place, one in made.items():
                self._ran.setdefault(place, _Ran()).count(one, self._slices[-1].lasted_ns, 1)
        self._last = (at_s, dict(usage))
        while self._slices and self._slices[0].end_s <= at_s - self._span_s:
            self._let_go(self._slices.popleft())

    def spent(self) -> dict[ModelPlace, Spent | None]:
        """Of every place that was read last; None where what runs has no price. Where nothing ran within the span nothing was spent."""
        return {
            place: self._spent(place, usage.replicas) for place, usage in (self._last[1] if self._last else {}).items()
        }

    def _let_go(self, old: _Slice) -> None:
        for place, one in old.usage.items():
            ran = self._ran[place]
            ran.count(one, old.lasted_ns, -1)
            if not ran.lasted_ns:
                del self._ran[place]

    def _spent(self, place: ModelPlace, replicas: int) -> Spent | None:
        price, ran = self.prices.of(*place), self._ran.get(place)
        if price is None:
            return None
        if ran is None or not any(ran.lasted_ns):
            return Spent(
                {}, 0, {}
            )  # nothing ran there within the span: a model that nobody serves, an environment of another name
        money: dict[Pricing, float] = {}
        for number, lasted_ns in ran.lasted_ns.items():
            an_hour = price.per_hour(number)
            if an_hour is None:
                return None
            for pricing, paid in an_hour.items():
                money[pricing] = money.get(pricing, 0.0) + paid * lasted_ns / HOUR_NS
        return Spent(money, ran.tokens, price.per_hour(replicas) or {})


def _rise(before: Usage | None, now: Usage) -> int:
    """Tokens since the reading before; a fall means that the meter counts anew."""
    if before is None:
        return 0
    return now.tokens - before.tokens if now.tokens >= before.tokens else now.tokens
