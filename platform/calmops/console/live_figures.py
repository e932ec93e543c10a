"""Computes the console's figures for the last seconds from two readings of the meter's counts. Knows no HTTP.

The judgement, which reads the meter's counts, feeds it; the page shows it.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from calmops.foundation.metric_names import INTER_TOKEN_EDGES_S, TTFT_EDGES_S
from calmops.foundation.quantiles import quantile
from calmops.messages.record import NOT_COUNTED, SUCCESSES

SPAN_S = 10.0


class ModelReading(NamedTuple):
    """Holds one model's counts: events per bucket (the last has no edge), sums since the meter began, two gauges."""

    inter_token: Sequence[int]  # INTER_TOKEN_EDGES_S, on the gateway's clock
    ttft: Sequence[int]  # TTFT_EDGES_S
    generated: int  # tokens
    outcomes: Mapping[str, int]
    running: int
    waiting: int


NOTHING = ModelReading([0] * (len(INTER_TOKEN_EDGES_S) + 1), [0] * (len(TTFT_EDGES_S) + 1), 0, {}, 0, 0)


class LiveFigures:
    """Keeps the readings that the figures look back on."""

    def __init__(self, span_s: float = SPAN_S) -> None:
        self._span_s = span_s
        self._readings: deque[tuple[float, Mapping[str, ModelReading]]] = deque()

    def read(self, at_s: float, models: Mapping[str, ModelReading]) -> None:
        """Take a reading that is later than the last."""
        self._readings.append((at_s, models))
        while len(self._readings) > 2 and self._readings[1][0] <= at_s - self._span_s:
            self._readings.popleft()

    def shown(self) -> list[dict[str, Any]]:
        """Return one entry per model; a figure is None where nothing happened that could be measured."""
        if len(self._readings) < 2:
            return []
        (before_s, before), (after_s, after) = self._readings[0], self._readings[-1]
        return [
            _figures(name, before.get(name, NOTHING), now, after_s - before_s) for name, now in sorted(after.items())
        ]


def _figures(name: str, before: ModelReading, now: ModelReading, lasted_s: float) -> dict[str, Any]:
    if now.generated < before.generated:
        before = NOTHING  # the meter began again at 0
    gaps = [late - early for early, late in zip(before.inter_token, now.inter_token, strict=True)]
    ttfts = [late - early for early, late in zip(before.ttft, now.ttft, strict=True)]
    ended = {outcome: count - before.outcomes.get(outcome, 0) for outcome, count in now.outcomes.items()}
    counted = sum(count for outcome, count in ended.items() if outcome not in NOT_COUNTED)
    successes = sum(ended.get(outcome, 0) for outcome in SUCCESSES)
    return {
        "model": name,
        **{f"itl_p{share}_ms": _ms(quantile(INTER_TOKEN_EDGES_S, gaps, share / 100)) for share in (50, 95, 99)},
        "ttft_p99_ms": _ms(quantile(TTFT_EDGES_S, ttfts, 0.99)),
        "tokens_per_s": (now.generated - before.generated) / lasted_s,
        "requests_per_s": sum(ended.values()) / lasted_s,
        "failed_share": 100 * (counted - successes) / counted if counted else None,
        "running": now.running,
        "waiting": now.waiting,
    }


def _ms(value_s: float | None) -> float | None:
    return None if value_s is None else round(1000 * value_s, 2)
