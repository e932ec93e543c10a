"""What the embedded evaluator noted, kept over a restart of the meter: one file, written whole or not at all."""

import os
from pathlib import Path

import msgspec

from calmops.objectives.evaluation.history import SavedSteps
from calmops.objectives.promises.objective import Source


class SavedSums(msgspec.Struct, frozen=True, array_like=True):
    """What was counted in each step for one objective, under the labels of a shard or of a model."""

    objective: str
    source: Source  # which events those were: of others they say nothing
    labels: tuple[str, ...]
    steps: SavedSteps


def read(path: Path) -> list[SavedSums]:
    """What was written last; nothing where nothing was, or by a release that noted otherwise. OSError as the disk has it."""
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=list[SavedSums])
    except (FileNotFoundError, msgspec.DecodeError):
        return []


def write(path: Path, noted: list[SavedSums]) -> None:
    """In place of what was there. OSError as the disk has it."""
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(msgspec.msgpack.encode(noted))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
