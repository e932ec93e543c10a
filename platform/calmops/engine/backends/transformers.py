"""Steps a model through transformers' own modules, on a CPU.

The model is sharded by AutoTP and has our cache and attention in place of its own, so prefill chunks and decode rows
of many sequences go through one forward pass. Knows no request and no text.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch

from calmops.engine.attention import CachedAttention, register
from calmops.engine.batch_invariance import check_products, choose_products, invariant_products
from calmops.engine.cache import KvCache
from calmops.engine.checkpoint import load_checkpoint
from calmops.engine.draw import Draw, Drawn
from calmops.engine.families import FIRST_STEP, check_every_layer
from calmops.engine.sampler import sample
from calmops.engine.settings import EngineSettings
from calmops.engine.step_layout import lay_out
from calmops.messages.plan import StepPlan

_ATTENTION = "calmops-cached-"


class TransformersBackend:
    """Holds one rank's model and cache. Every rank of a gang makes its own and steps through the same plans."""

    def __init__(self, settings: EngineSettings, rank: int = 0) -> None:
        """Load, shard and warm up. Raises ReleaseError or UnsupportedModel; for tp > 1 the world must be joined."""
        torch.set_num_threads(settings.threads)
        if settings.exact:
            choose_products()
        self._settings = settings
        self._rank = rank
        model: Any
        model, self.release = load_checkpoint(settings)
        self._model = model
        self.config: Any = model.config
        self.cache = KvCache(settings.kv_blocks)
        self._attention = CachedAttention(self.cache, exact=bool(settings.exact))
        self.config._attn_implementation = register(_ATTENTION, self._attention.__call__)
        if settings.exact:
            check_products(model)
        self.step(FIRST_STEP)
        check_every_layer(self.config, self.cache.layers)

    @property
    def vocabulary(self) -> int:
        """Return the number of logits per row."""
        return int(self.config.vocab_size)

    @property
    def context_tokens(self) -> int:
        """Return the length of the longest sequence that the model's positions reach, in tokens."""
        return int(self.config.max_position_embeddings)

    def step(self, plan: StepPlan) -> torch.Tensor | None:
        """Run one forward pass over the plan's rows; see ``Backend``."""
        layout = lay_out(plan, self.cache.scratch_block, exact=bool(self._settings.exact))
        self._attention.begin(layout)
        with torch.inference_mode(), invariant_products() if self._settings.exact else nullcontext():
            logits: torch.Tensor = self._model(
                input_ids=layout.tokens, position_ids=layout.positions, use_cache=False, logits_to_keep=layout.wanted
            ).logits
        if self._rank != 0:
            return None
        return logits[0, : len(plan.wanted_rows)].float()

    def sample(self, logits: torch.Tensor, draws: Sequence[Draw]) -> list[Drawn]:
        """Draw one token per row; see ``Backend``."""
        return sample(logits, draws)
