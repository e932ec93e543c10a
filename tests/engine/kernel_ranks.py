"""The kernel on the two ranks of a real gang."""

import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from calmops.engine import tensor_parallel
from calmops.engine.checkpoint import load_checkpoint
from calmops.engine.kernel import PackSettings, Reduction, best_path, load, pack
from calmops.engine.settings import EngineSettings
from calmops.messages.plan import StepPlan
from tests.engine.gang import run_gang
from tests.engine.ragged import ragged_logits, random_sequences

BLOCKS = 40
LENGTHS = (40, 70, 3, 33, 100, 17)


class _Shard:
    def __init__(self, kernel: Any, rank: int, vocabulary: int) -> None:
        self._kernel, self._rank, self._vocabulary = kernel, rank, vocabulary

    def step(self, plan: StepPlan) -> torch.Tensor | None:
        logits = self._kernel.step(plan)
        return logits[:, : self._vocabulary] if self._rank == 0 else None


def logits_on_two_ranks(folder: Path, weights: str, *, ours: bool, seed: int) -> dict[tuple[int, int], torch.Tensor]:
    """Ragged logits by (sequence, position); ``ours``: through our sum over the ranks, else DeepSpeed's."""
    found: dict[tuple[int, int], Any] = run_gang(_rank, 2, folder, weights, ours, seed)
    return {at: torch.from_numpy(logits) for at, logits in found.items()}


def _rank(rank: int, tp: int, folder: Path, weights: str, ours: bool, seed: int) -> dict[tuple[int, int], Any] | None:
    torch.set_num_threads(1)
    model, _ = load_checkpoint(EngineSettings(folder=folder, tp=tp, dtype="float32" if weights == "float32" else "bfloat16"))
    config: Any = model.config
    all_reduce: Any = tensor_parallel.all_reduce
    if ours:
        all_reduce = Reduction(load(best_path() or ""), os.environ["MASTER_PORT"], rank, tp)
        dist.barrier()
        all_reduce.unlink()
    how = PackSettings(weights=weights, kv_blocks=BLOCKS, max_rows=256, rank=rank, tp=tp, all_reduce=all_reduce)
    shard: Any = _Shard(pack(model, how), rank, config.vocab_size)
    found = ragged_logits(shard, random_sequences(seed // 10, LENGTHS, config.vocab_size), BLOCKS, seed)
    return {at: logits.numpy().copy() for at, logits in found.items()} if rank == 0 else None
