"""Names the series that the rules record, and sets the pace at which the rules' time runs. Knows no rule.

A name reads level:metric:operation. The level says which labels are left: shard (all), model (all except the shard),
calmops (the objective's name at most).
"""

from calmops.objectives.promises.objective import LABELS
from calmops.objectives.promises.windows import span

STEP_S = 60  # the length of the steps from which long spans are summed
ZERO_S = 600  # how long a single bad event keeps a zero's alert firing
SHARD = ", ".join(("objective", *LABELS))
MODEL = ", ".join(("objective", *(label for label in LABELS if label != "shard")))
BUDGET = "calmops:objective_budget:ratio"
MAINTENANCE = "calmops:maintenance:active"


class Pace:
    """Makes time run faster, for tests that can't wait: ``by`` 60 turns an hour into a minute; 1 is real time."""

    def __init__(self, by: float = 1.0, least_s: int = 1) -> None:
        self._by, self._least_s = by, least_s

    def seconds(self, duration_s: float) -> int:
        """Return a duration at this pace, in whole seconds, never under ``least_s``."""
        return max(self._least_s, round(duration_s / self._by))


def increments(level: str, what: str, step_s: int) -> str:
    """Name the series of what was counted in each step; ``what`` is "events" or "bad"."""
    return f"{level}:calmops_objective_{what}:increase{span(step_s)}"


def burn_series(level: str, span_s: int) -> str:
    """Name the series of the burn over a span; 1 uses up the budget exactly within its period."""
    return f"{level}:calmops_objective_burn:rate{span(span_s)}"


def events_series(level: str, span_s: int) -> str:
    """Name the series of the number of events in a span."""
    return f"{level}:calmops_objective_events:over{span(span_s)}"


def left_series(period_s: int) -> str:
    """Name the series of the share of the budget that is left."""
    return f"model:calmops_objective_budget:left{span(period_s)}"
