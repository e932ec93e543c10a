"""A batch's tokens are a pure function of (seed, step), so a run resumes without any reader's state.

A phase is a stretch of steps with one window length. In each epoch of a phase the documents are shuffled and joined,
then cut into windows, and the windows are shuffled. This module knows numbers only: no text, no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Describes ``steps`` steps with windows of ``window_tokens``."""

    steps: int
    window_tokens: int


class Batches:
    """Serves each step's batch. The order of one epoch is cached; the cache changes no batch."""

    def __init__(
        self, documents: Sequence[Sequence[int]], phases: Sequence[Phase], *, batch_tokens: int, seed: int
    ) -> None:
        self._documents = [np.asarray(document, dtype=np.int64) for document in documents]
        self._phases = tuple(phases)
        self._batch_tokens = batch_tokens
        self._seed = seed
        self._cached_epoch: tuple[int, int] | None = None
        self._windows: Tokens = np.empty((0, 0), dtype=np.int64)
        total = sum(len(document) for document in self._documents)
        for phase in self._phases:
            rows = self._rows(phase)
            assert rows >= 1, f"a batch of {batch_tokens} tokens holds no window of {phase.window_tokens}"
            assert total // phase.window_tokens >= rows, f"{total} tokens don't fill a batch of {batch_tokens}"

    @property
    def steps(self) -> int:
        """Return the number of steps in all phases together."""
        return sum(phase.steps for phase in self._phases)

    def batch(self, step: int) -> Tokens:
        """Return the tokens of ``step`` (from 0): int64 [rows, window]."""
        index = step
        for number, phase in enumerate(self._phases):
            if index < phase.steps:
                return self._in_phase(number, phase, index)
            index -= phase.steps
        raise AssertionError(f"step {step} is beyond the last one, {self.steps - 1}")

    def _rows(self, phase: Phase) -> int:
        return self._batch_tokens // phase.window_tokens

    def _in_phase(self, number: int, phase: Phase, index: int) -> Tokens:
        rows = self._rows(phase)
        per_epoch = sum(len(document) for document in self._documents) // phase.window_tokens // rows
        epoch, place = divmod(index, per_epoch)
        if self._cached_epoch != (number, epoch):
            self._windows = self._shuffled(number, phase, epoch)
            self._cached_epoch = (number, epoch)
        return self._windows[place * rows : (place + 1) * rows]

    def _shuffled(self, number: int, phase: Phase, epoch: int) -> Tokens:
        draw = np.random.Generator(np.random.PCG64([self._seed, number, epoch]))
        stream = np.concatenate([self._documents[i] for i in draw.permutation(len(self._documents))])
        count = len(stream) // phase.window_tokens
        windows = stream[: count * phase.window_tokens].reshape(count, phase.window_tokens)
        return windows[draw.permutation(count)]
