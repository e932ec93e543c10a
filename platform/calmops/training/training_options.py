"""One record holds every option of a training run; its defaults are the values that made the shipped model.

It knows no torch, so it can be read without loading any.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from calmops.foundation.errors import InputError
from calmops.training.data.batches import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """Describes one run. Sizes are in tokens and channels.

    ``corpus`` is a folder, a .tar.xz archive or None for Python's standard library; ``work`` holds checkpoints
    and losses; ``release`` gets the finished model.
    """

    work: Path
    release: Path
    corpus: Path | None = None
    vocabulary: int = 4096
    hidden: int = 256
    intermediate: int = 640
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    context: int = 1024
    steps: int = 4_000
    batch_tokens: int = 2_048
    first_window: int = 512
    long_share: float = 0.25
    peak_rate: float = 2.5e-3
    warmup_steps: int = 150
    decay_share: float = 0.4
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    dtype: str = "bfloat16"
    seed: int = 1
    checkpoint_every: int = 200
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "batch_tokens", "first_window", "checkpoint_every", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}", param=name)
        if self.dtype not in ("bfloat16", "float32"):
            raise InputError(f"dtype must be bfloat16 or float32, not {self.dtype!r}", param="dtype")
        for name in ("long_share", "decay_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be between 0 and 1, not {getattr(self, name)}", param=name)
        longest = self.context if self.long_share else self.first_window
        if self.batch_tokens < longest:
            raise InputError(
                f"batch_tokens is {self.batch_tokens}, but a window is {longest} tokens", param="batch_tokens"
            )

    def phases(self) -> tuple[Phase, ...]:
        """Return the phases of the run: first short windows, then whole contexts."""
        long_steps = round(self.steps * self.long_share)
        both = (
            Phase(steps=self.steps - long_steps, window_tokens=self.first_window),
            Phase(steps=long_steps, window_tokens=self.context),
        )
        return tuple(phase for phase in both if phase.steps)

    def rate(self, step: int) -> float:
        """Return the rate of ``step`` (from 0): linear warm-up, level, then a cosine down to a fiftieth of the peak."""
        if step < self.warmup_steps:
            return self.peak_rate * (step + 1) / self.warmup_steps
        first = self.free_steps()
        if step < first:
            return self.peak_rate
        done = (step - first) / max(1, self.steps - first)
        return self.peak_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))

    def free_steps(self) -> int:
        """Return how many first steps don't depend on ``steps``: from these, a run can go on to another length."""
        tail = max(self.decay_share, self.long_share)
        return self.steps - round(self.steps * tail)

    def fingerprint(self) -> str:
        """Return a digest of every option that changes the weights, except ``steps`` (see free_steps)."""
        given = asdict(self)
        for name in ("work", "release", "corpus", "checkpoint_every", "steps"):
            del given[name]
        return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()
