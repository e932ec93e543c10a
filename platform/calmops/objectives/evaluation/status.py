"""How every objective stands now, for people: how fast its budget burns, what is left of it, whether it is kept."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from calmops.foundation.model_labels import ModelLabels
from calmops.objectives.evaluation.evaluator import KEPT, Evaluator
from calmops.objectives.promises.objective import AnyObjective, Ratio, Value, Zero
from calmops.objectives.promises.windows import seconds, span
from calmops.objectives.rules.series import ZERO_S

SPANS = ("5m", "1h", "6h")  # no longer than a page's spans, which the evaluator reads off counters
LATELY = span(ZERO_S)
SIGNS = {"lt": "<", "lte": "≤", "gt": ">", "gte": "≥"}


class Status(NamedTuple):
    """One objective of one model. ``model`` is None where nothing was counted yet."""

    objective: AnyObjective
    model: ModelLabels | None
    burns: dict[str, float | None]  # of a ratio, by span
    left: float | None  # of a ratio's budget, a share; may be negative
    kept: bool | None  # None: not known
    told: str  # in words, where there is no budget


def statuses(objectives: Sequence[AnyObjective], evaluator: Evaluator, at_s: float) -> list[Status]:
    """In the objectives' order; one without any event yet is there too."""
    return [standing for objective in objectives for standing in _of(objective, evaluator, at_s)]


def _of(objective: AnyObjective, evaluator: Evaluator, at_s: float) -> Iterable[Status]:
    found = list(
        _ratio(objective, evaluator, at_s) if isinstance(objective, Ratio)
        else _zero(objective, evaluator, at_s) if isinstance(objective, Zero)
        else _value(objective, evaluator)
    )  # fmt: skip
    return found or [Status(objective, None, dict.fromkeys(SPANS), None, None, "nothing was counted yet")]


def _ratio(objective: Ratio, evaluator: Evaluator, at_s: float) -> Iterator[Status]:
    for model in evaluator.models(objective.name):
        burns = {span_: evaluator.burnt(objective, model, seconds(span_), at_s) for span_ in SPANS}
        left = evaluator.left(objective, model, at_s)
        yield Status(objective, model, burns, left, None if left is None else left > 0, "")


def _zero(objective: Zero, evaluator: Evaluator, at_s: float) -> Iterator[Status]:
    for model in evaluator.models(objective.name):
        bad = evaluator.bad(objective, model, at_s)
        told = (
            "counting begins"
            if bad is None
            else f"none in the last {LATELY}"
            if bad == 0
            else f"{bad:.0f} in the last {LATELY}"
        )
        yield Status(objective, model, {}, None, None if bad is None else bad == 0, told)


def _value(objective: Value, evaluator: Evaluator) -> Iterator[Status]:
    for labels, value in evaluator.gauge(objective).items():
        kept: bool = KEPT[objective.op](value, objective.bound)
        yield Status(
            objective, labels, {}, None, kept, f"{value:.3g}, promised {SIGNS[objective.op]} {objective.bound:g}"
        )
