"""Keeps the embedded evaluator's step sums over a restart of the meter, in one file, written whole or not at all.

Stands beside the evaluator, and knows neither how it judges nor when it is saved.
"""

import os
from pathlib import Path
from typing import Self

import msgspec

from calmops.foundation.model_labels import ModelLabels, ShardLabels
from calmops.objectives.evaluation.history import SavedSteps
from calmops.objectives.promises.objective import Source

MODEL_LABELS_0_1 = 5  # how many labels a model had in release 0.1, in whose file only a shard's label set is longer


class SavedSums(msgspec.Struct, frozen=True, kw_only=True):
    """Holds one objective's step sums, under a model's label set, or a shard's if ``shard`` is given."""

    objective: str
    source: Source  # the events that were counted: the sums say nothing about others
    model: ModelLabels
    shard: str | None = None
    steps: SavedSteps

    @property
    def labels(self) -> ModelLabels | ShardLabels:
        """Return the label set that the sums belong to."""
        return self.model if self.shard is None else ShardLabels(self.model, self.shard)


class _SavedSums01(msgspec.Struct, frozen=True, array_like=True):
    """Holds the same as release 0.1 wrote it."""

    objective: str
    source: Source
    labels: tuple[str, ...]
    steps: SavedSteps

    def today(self) -> SavedSums:
        """Return the record of today's release."""
        model, shard = self.labels[:MODEL_LABELS_0_1], self.labels[MODEL_LABELS_0_1:]
        return SavedSums(
            objective=self.objective,
            source=self.source,
            model=ModelLabels(*model),
            shard=shard[0] if shard else None,
            steps=self.steps,
        )


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """Holds the file's content, with the version of its format."""

    version: int = 2
    sums: list[SavedSums]

    @classmethod
    def read(cls, body: bytes) -> Self:
        """Decode a file of this release or of 0.1. Raises msgspec.DecodeError for any other."""
        try:
            return msgspec.msgpack.decode(body, type=cls)
        except msgspec.ValidationError:
            return cls(sums=[one.today() for one in msgspec.msgpack.decode(body, type=list[_SavedSums01])])


def read(path: Path) -> list[SavedSums]:
    """Return the sums written last; none if the file is missing or of an unknown format. Raises the disk's OSError."""
    try:
        return _File.read(path.read_bytes()).sums
    except (FileNotFoundError, msgspec.DecodeError):
        return []


def write(path: Path, sums: list[SavedSums]) -> None:
    """Replace the file's content. Raises the disk's OSError."""
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(msgspec.msgpack.encode(_File(sums=sums)))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
