"""The page's figures: what happened in the last seconds, out of two readings of the meter's counts."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from calmops.foundation.metric_names import INTER_TOKEN_EDGES_S, TTFT_EDGES_S
from calmops.foundation.quantiles import quantile
from calmops.messages.record import NOT_COUNTED, SUCCESSES

SPAN_S = 10.0


class ModelReading(NamedTuple):
    """One model's counts: events by bucket (the last one has no edge), sums since the meter began, and two gauges."""

    inter_token: Sequence[int]  # INTER_TOKEN_EDGES_S, on the gateway's clock
    ttft: Sequence[int]  # TTFT_EDGES_S
    generated: int  # tokens
    outcomes: Mapping[str, int]
    running: int
    waiting: int


NOTHING = ModelReading([0] * (len(INTER_TOKEN_EDGES_S) + 1), [0] * (len(TTFT_EDGES_S) + 1), 0, {}, 0, 0)


class LiveFigures:
    """Keeps readings for as long as figures look back."""

    def __init__(self, span_s: float = SPAN_S) -> None:
        self._span_s = span_s
        self._readings: deque[tuple[float, Mapping[str, ModelReading]]] = deque()

    def read(self, at_s: float, models: Mapping[str, ModelReading]) -> None:
        """One reading, later than the last."""
        self._readings.append((at_s, models))
        while len(self._readings) > 2 and self._readings[1][0] <= at_s - self._span_s:
            self._readings.popleft()

    def shown(self) -> list[dict[str, Any]]:
        """One entry a model; None where nothing happened that could be measured."""
        if len(self._readings) < 2:
            return []
        (before_s, before), (after_s, after) = self._readings[0], self._readings[-1]
        return [
            _figures(name, before.get(name, NOTHING), now, after_s - before_s) for name, now in sorted(after.items())
        ]


def _figures(name: str, before: ModelReading, now: ModelReading, lasted_s: float) -> dict[str, Any]:
    if now.generated < before.generated:
        before = NOTHING  # the meter counts anew
    gaps = [b - a for a, b in zip(before.inter_token, now.inter_token, strict=True)]
    firsts = [b - a for a, b in zip(before.ttft, now.ttft, strict=True)]
    ended = {outcome: count - before.outcomes.get(outcome, 0) for outcome, count in now.outcomes.items()}
    counted = sum(count for outcome, count in ended.items() if outcome not in NOT_COUNTED)
    well = sum(ended.get(outcome, 0) for outcome in SUCCESSES)
    return {
        "model": name,
        **{f"itl_p{share}_ms": _ms(quantile(INTER_TOKEN_EDGES_S, gaps, share / 100)) for share in (50, 95, 99)},
        "ttft_p99_ms": _ms(quantile(TTFT_EDGES_S, firsts, 0.99)),
        "tokens_per_s": (now.generated - before.generated) / lasted_s,
        "requests_per_s": sum(ended.values()) / lasted_s,
        "failed_share": 100 * (counted - well) / counted if counted else None,
        "running": now.running, "waiting": now.waiting,
    }  # fmt: skip


def _ms(value_s: float | None) -> float | None:
    return None if value_s is None else round(1000 * value_s, 2)
