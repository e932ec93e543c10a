"""All that is promised, as one record."""

from collections.abc import Sequence
from typing import NamedTuple

from calmops.objectives.promises.maintenance import Maintenance
from calmops.objectives.promises.objective import AnyObjective
from calmops.objectives.promises.windows import Windows


class Promises(NamedTuple):
    """Everything that was written down, as it was read."""

    objectives: Sequence[AnyObjective]
    windows: Windows
    announced: Sequence[Maintenance] = ()
    runbooks: str | None = (
        None  # the address below which they lie; None: nobody named one, the console has those that ship
    )
