"""Decodes with a static cache and one step captured in a CUDA graph: the speed of a GPU that only replays.

This is no engine, but a yardstick for the engine's step. Every sequence has the same length, so that all shapes stay
the same.
"""

from typing import Any

import torch
import transformers


class StaticDecoding:
    """Decodes ``sequences`` sequences of up to ``context`` tokens greedily; on a CPU nothing is captured."""

    def __init__(self, model: Any, sequences: int, context: int) -> None:
        """Allocate the cache and capture the step. ``model``: transformers' causal language model, on its device."""
        device = model.device
        self._model = model
        self._cache = transformers.StaticCache(config=model.config, max_cache_len=context)
        self._reach = torch.arange(context, device=device)
        self._ids = torch.zeros((sequences, 1), dtype=torch.long, device=device)
        self._position = torch.zeros(1, dtype=torch.long, device=device)
        self._graph: torch.cuda.CUDAGraph | None = None
        if device.type == "cuda":
            self._capture()

    @torch.inference_mode()
    def begin(self, prompts: torch.Tensor) -> torch.Tensor:
        """Run the prompts [sequences, length]; return the first token of each, [sequences]."""
        self._cache.reset()
        logits = self._model(input_ids=prompts, past_key_values=self._cache, logits_to_keep=1).logits
        self._ids.copy_(logits.argmax(dim=-1))
        self._position.fill_(prompts.shape[1])
        return self._ids[:, 0].clone()

    @torch.inference_mode()
    def step(self) -> torch.Tensor:
        """Run one step; return the next token of each sequence, [sequences]."""
        if self._graph is None:
            self._step()
        else:
            self._graph.replay()
        return self._ids[:, 0].clone()

    def _step(self) -> None:
        seen = (self._reach <= self._position)[None, None, None]  # [1, 1, 1, context]
        logits = self._model(
            input_ids=self._ids, position_ids=self._position[None], attention_mask=seen, past_key_values=self._cache
        ).logits
        self._ids.copy_(logits.argmax(dim=-1))
        self._position.add_(1)

    @torch.inference_mode()
    def _capture(self) -> None:
        """Capture a step after some on a stream of their own, as a capture demands; ``begin`` forgets what they did."""
        self.begin(self._ids)
        warm_up = torch.cuda.Stream()
        warm_up.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(warm_up):
            for _ in range(3):
                self._step()
        torch.cuda.current_stream().wait_stream(warm_up)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._step()
