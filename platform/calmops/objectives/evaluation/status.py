"""Describes how every objective stands now, for people: how fast its budget burns, what is left, whether it is kept.

Reads the embedded evaluator, and knows neither the page nor the tables that show it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from calmops.foundation.model_labels import ModelLabels
from calmops.objectives.evaluation.evaluator import KEPT, Evaluator
from calmops.objectives.promises.objective import AnyObjective, Ratio, Value, Zero
from calmops.objectives.promises.windows import seconds, span
from calmops.objectives.rules.series import ZERO_S

SPANS = ("5m", "1h", "6h")  # no longer than a page's spans, which the evaluator reads off counters
ZERO_SPAN = span(ZERO_S)
SIGNS = {"lt": "<", "lte": "≤", "gt": ">", "gte": "≥"}


class Status(NamedTuple):
    """Describes one objective for one model. ``model`` is None if nothing was counted yet."""

    objective: AnyObjective
    model: ModelLabels | None
    burns: dict[str, float | None]  # a ratio's burn rates, by span
    left: float | None  # the share of a ratio's budget that is left; may be negative
    kept: bool | None  # None: not known
    in_words: str  # where there is no budget


def statuses(objectives: Sequence[AnyObjective], evaluator: Evaluator, at_s: float) -> list[Status]:
    """Return every objective's statuses, in the objectives' order; one without any event yet has one too."""
    return [status for objective in objectives for status in _statuses(objective, evaluator, at_s)]


def _statuses(objective: AnyObjective, evaluator: Evaluator, at_s: float) -> Iterable[Status]:
    by_model = list(
        _ratio(objective, evaluator, at_s) if isinstance(objective, Ratio)
        else _zero(objective, evaluator, at_s) if isinstance(objective, Zero)
        else _value(objective, evaluator)
    )  # fmt: skip
    return by_model or [Status(objective, None, dict.fromkeys(SPANS), None, None, "nothing was counted yet")]


def _ratio(objective: Ratio, evaluator: Evaluator, at_s: float) -> Iterator[Status]:
    for model in evaluator.models(objective.name):
        burns = {span_: evaluator.burn_rate(objective, model, seconds(span_), at_s) for span_ in SPANS}
        left = evaluator.budget_left(objective, model, at_s)
        yield Status(objective, model, burns, left, None if left is None else left > 0, "")


def _zero(objective: Zero, evaluator: Evaluator, at_s: float) -> Iterator[Status]:
    for model in evaluator.models(objective.name):
        bad = evaluator.bad_events(objective, model, at_s)
        if bad is None:
            in_words = "counting begins"
        else:
            in_words = f"{bad:.0f} in the last {ZERO_SPAN}" if bad else f"none in the last {ZERO_SPAN}"
        yield Status(objective, model, {}, None, None if bad is None else bad == 0, in_words)


def _value(objective: Value, evaluator: Evaluator) -> Iterator[Status]:
    for labels, value in evaluator.gauge(objective).items():
        kept: bool = KEPT[objective.op](value, objective.bound)
        yield Status(
            objective, labels, {}, None, kept, f"{value:.3g}, promised {SIGNS[objective.op]} {objective.bound:g}"
        )
