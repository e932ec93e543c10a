"""Holds everything that is promised as one record, as it goes to the rules and the evaluator. Knows no file."""

from collections.abc import Sequence
from typing import NamedTuple

from calmops.objectives.promises.maintenance import Maintenance
from calmops.objectives.promises.objective import AnyObjective
from calmops.objectives.promises.windows import Windows


class Promises(NamedTuple):
    """Holds every promise that was read from a folder."""

    objectives: Sequence[AnyObjective]
    windows: Windows
    announced: Sequence[Maintenance] = ()
    # The address under which runbooks lie. None: the folder names none, and the console shows those that ship.
    runbooks: str | None = None
