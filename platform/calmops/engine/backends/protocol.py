"""Defines the seam to the hardware: what the engine needs of whatever runs a step. Knows no model and no device.

The implementations are the modules beside this one; ``choice.py`` picks one of them.
"""

from collections.abc import Sequence
from typing import Protocol

import torch

from calmops.engine.draw import Draw, Drawn
from calmops.foundation.release import Release
from calmops.messages.plan import StepPlan


class Backend(Protocol):
    """Steps one rank's share of a model and samples from what comes out."""

    release: Release

    @property
    def context_tokens(self) -> int:
        """Return the length of the longest sequence that the model's positions reach, in tokens."""
        ...

    def step(self, plan: StepPlan) -> torch.Tensor | None:
        """Run one forward pass: logits [W, V] float32 on rank 0, valid until the next step; None on other ranks."""
        ...

    def sample(self, logits: torch.Tensor, draws: Sequence[Draw]) -> list[Drawn]:
        """Draw one token per row of ``logits``, row i by ``draws[i]``. A token doesn't depend on the other rows."""
        ...
