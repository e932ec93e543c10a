"""Runs the CPU kernel alone on a tiny checkpoint, and transformers on the same tokens, for tests and proofs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from calmops.engine.draw import Draw, Drawn
from calmops.engine.kernel import PackSettings, pack
from calmops.engine.sampler import sample as torch_sample
from calmops.foundation.release import Release, verify
from calmops.messages.plan import StepPlan

TORCH = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.bfloat16}


def load(folder: Path, weights: str = "float32") -> Any:
    """Load the checkpoint as a transformers model, in the type that ``weights`` are packed from."""
    loader: Any = AutoModelForCausalLM
    return loader.from_pretrained(folder, dtype=TORCH[weights], attn_implementation="eager").eval()


class KernelAlone:
    """Is a ``Backend`` of one rank, without the engine around it."""

    def __init__(self, folder: Path, weights: str, **how: Any) -> None:
        model = load(folder, weights)
        self.release: Release = verify(folder)
        self.vocabulary = int(model.config.vocab_size)
        self.context_tokens = int(model.config.max_position_embeddings)
        self.kernel = pack(model, PackSettings(weights=weights, **({"kv_blocks": 64, "max_rows": 256} | how)))

    def step(self, plan: StepPlan) -> torch.Tensor:
        return self.kernel.step(plan)[:, : self.vocabulary]

    def sample(self, logits: torch.Tensor, draws: Sequence[Draw]) -> list[Drawn]:
        return torch_sample(logits, draws)


def reference(model: Any, sequences: Sequence[Sequence[int]]) -> dict[tuple[int, int], torch.Tensor]:
    """Return logits [V] float32 by (sequence, position), each sequence run alone and in one pass."""
    rows: dict[tuple[int, int], torch.Tensor] = {}
    with torch.inference_mode():
        for number, ids in enumerate(sequences):
            logits = model(torch.tensor([list(ids)])).logits[0].float()
            rows |= {(number, position): logits[position] for position in range(len(ids))}
    return rows


def largest_error(logits: dict[tuple[int, int], torch.Tensor], exact: dict[tuple[int, int], torch.Tensor]) -> float:
    """Return the largest difference of any logit."""
    return max(float((row - exact[at]).abs().max()) for at, row in logits.items())
