"""Runs the kernel on the two ranks of a real gang."""

import os
from pathlib import Path
from typing import Any

import torch

from calmops.engine import tensor_parallel
from calmops.engine.backends import kernel
from tests.support.engine.engine_settings import engine_settings
from tests.support.engine.ragged_steps import ragged_logits, random_sequences
from tests.support.engine.real_ranks import run_gang

BLOCKS = 40
LENGTHS = (40, 70, 3, 33, 100, 17)


def logits_on_two_ranks(folder: Path, weights: str, *, ours: bool, seed: int) -> dict[tuple[int, int], torch.Tensor]:
    """Return ragged logits by (sequence, position), summed through our reduction or through DeepSpeed's op.

    ``ours``: our reduction, with both ranks on one core.
    """
    arrays: dict[tuple[int, int], Any] = run_gang(_rank, 2, folder, weights, ours, seed)
    return {at: torch.from_numpy(logits) for at, logits in arrays.items()}


def _rank(rank: int, tp: int, folder: Path, weights: str, ours: bool, seed: int) -> dict[tuple[int, int], Any] | None:
    cores = sorted(os.sched_getaffinity(0))[: 1 if ours else 2]
    os.sched_setaffinity(0, cores)
    sums: Any = tensor_parallel if ours else kernel
    setattr(sums, "all_reduce" if ours else "SharedMemoryAllReduce", _forbidden)
    if not ours:
        sums._sum_over_ranks = lambda _settings, _rank: tensor_parallel.all_reduce
    quantize: Any = "int8" if weights == "int8" else None
    settings = engine_settings(
        folder=folder,
        tp=tp,
        dtype="float32" if weights == "float32" else "bfloat16",
        quantize=quantize,
        backend="kernel",
        kv_blocks=BLOCKS,
        max_rows_per_step=256,
    )
    backend = kernel.KernelBackend(settings, rank)
    sequences = random_sequences(seed // 10, LENGTHS, backend.vocabulary)
    rows = ragged_logits(backend, sequences, BLOCKS, seed)
    return {at: logits.numpy().copy() for at, logits in rows.items()} if rank == 0 else None


def _forbidden(*_: object) -> None:
    raise AssertionError("the other sum was used")
