"""Steps a model through our CPU kernel: the same shards from AutoTP, packed for our own C++.

It is exact by construction (guarantee G2): a row's bits depend neither on its batch nor on the number of threads. Knows
no request and no text.
"""

import os
import secrets
from collections.abc import Sequence
from typing import Any

import torch

from calmops.engine import tensor_parallel
from calmops.engine.checkpoint import load_checkpoint
from calmops.engine.draw import Draw, Drawn
from calmops.engine.kernel import Kernel, PackSettings, SharedMemoryAllReduce, best_path, load, pack
from calmops.engine.kernel.sampling import KernelSampler
from calmops.engine.settings import EngineSettings
from calmops.messages.plan import StepPlan


class KernelBackend:
    """Holds one rank's packed shard and cache; see ``protocol.Backend``."""

    def __init__(self, settings: EngineSettings, rank: int = 0) -> None:
        """Load, shard and pack. Raises ReleaseError or UnsupportedModel; for tp > 1 the world must be joined."""
        torch.set_num_threads(settings.threads)
        self._rank = rank
        self._core = settings.cores[0] if settings.cores else None
        model: Any
        model, self.release = load_checkpoint(settings)
        self._vocabulary = int(model.config.vocab_size)
        self.context_tokens = int(model.config.max_position_embeddings)
        self._kernel: Kernel = pack(
            model,
            PackSettings(
                weights=settings.quantize or settings.dtype,
                kv_blocks=settings.kv_blocks,
                max_rows=settings.max_rows_per_step,
                threads=settings.threads,
                cores=settings.cores,
                rank=rank,
                tp=settings.tp,
                all_reduce=_sum_over_ranks(settings, rank),
            ),
        )
        self._sampler = KernelSampler(self._kernel)

    @property
    def vocabulary(self) -> int:
        """Return the number of logits per row."""
        return self._vocabulary

    def step(self, plan: StepPlan) -> torch.Tensor | None:
        """Run one forward pass; see ``Backend``. The first call pins its thread to the first core."""
        if self._core is not None:
            os.sched_setaffinity(0, {self._core})
            self._core = None
        logits = self._kernel.step(plan)
        return logits[:, : self._vocabulary] if self._rank == 0 else None

    def sample(self, logits: torch.Tensor, draws: Sequence[Draw]) -> list[Drawn]:
        """Draw one token per row of this backend's logits, or of their first columns."""
        return self._sampler.sample(logits, draws)


def _sum_over_ranks(settings: EngineSettings, rank: int) -> SharedMemoryAllReduce | None:
    """Open our own sum over the ranks; None for a gang of one. It has the bits of DeepSpeed's sum.

    DeepSpeed's would spin for ever on a core that its peer needs; see platform/decisions.
    """
    if settings.tp == 1:
        return None
    path = best_path()
    assert path is not None, "the kernel was chosen, so it runs here"
    ours = SharedMemoryAllReduce(load(path), tensor_parallel.text_of_rank_0(secrets.token_hex(8)), rank, settings.tp)
    tensor_parallel.wait_for_every_rank()
    ours.unlink()
    return ours
