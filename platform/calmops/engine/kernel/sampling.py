"""Hands the kernel's sampler (sampler.h) the draws of a step, in one call for all its rows.

The rules stand in ``engine/sampler_specification.py``.
"""

import ctypes
from array import array
from collections.abc import Sequence
from typing import NamedTuple

import torch

from calmops.engine.draw import Draw, Drawn, is_plain
from calmops.engine.kernel import Kernel, structures
from calmops.messages.request import SamplingParams

_REMEMBERED = 4096  # structures of sequences that drew lately


class _FilledDraw(NamedTuple):
    params: SamplingParams  # kept, so that no other object gets its id
    structure: structures.Draw
    arrays: tuple["array[int] | array[float]", ...]  # what the structure points to


class KernelSampler:
    """Draws through the kernel; fills the structure of a sequence once if its draws don't look at its tokens."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._remembered: dict[tuple[int, int], _FilledDraw] = {}  # by the parameters' id and the choice

    def sample(self, logits: torch.Tensor, draws: Sequence[Draw]) -> list[Drawn]:
        """Draw one token per row of ``logits`` [W, V], the kernel's own (not modified), row i by ``draws[i]``."""
        assert logits.shape[0] == len(draws), f"{logits.shape[0]} rows of logits, {len(draws)} draws"
        count = len(draws)
        filled = [self._fill(draw) for draw in draws]
        most = max(0, *(one.structure.alternatives for one in filled))
        pointers = (ctypes.c_void_p * count)(*(ctypes.addressof(one.structure) for one in filled))
        positions = (ctypes.c_int32 * count)(*(draw.position for draw in draws))
        results = (structures.Drawn * count)()
        top_ids, top_logprobs = (ctypes.c_int32 * (count * most))(), (ctypes.c_float * (count * most))()
        addresses = [ctypes.addressof(one) for one in (pointers, positions, results, top_ids, top_logprobs)]
        self._kernel.draw(structures.Draws(count, logits.shape[1], most, logits.data_ptr(), *addresses))
        if not most and all(one.structure.alternatives < 0 for one in filled):
            return [Drawn(token_id=result.token) for result in results]
        drawn = []
        for row, (result, draw) in enumerate(zip(results, filled, strict=True)):
            alternatives = min(draw.structure.alternatives, logits.shape[1])
            if alternatives < 0:
                drawn.append(Drawn(token_id=result.token))
                continue
            of_row = slice(row * most, row * most + alternatives)
            top = tuple(zip(top_ids[of_row], top_logprobs[of_row], strict=True))
            drawn.append(Drawn(token_id=result.token, logprob=result.logprob, top=top))
        return drawn

    def _fill(self, draw: Draw) -> _FilledDraw:
        key = (id(draw.params), draw.choice)
        filled = self._remembered.get(key)
        if filled is None:
            filled = _filled(draw)
            if is_plain(draw.params):
                while len(self._remembered) >= _REMEMBERED:
                    del self._remembered[next(iter(self._remembered))]
                self._remembered[key] = filled
        return filled


def _filled(draw: Draw) -> _FilledDraw:
    params = draw.params
    needs_tokens = not is_plain(params)
    prompt, answer = (array("i", ids if needs_tokens else ()) for ids in (draw.prompt_ids, draw.answer_ids))
    bias_ids, bias_values = array("i", params.logit_bias.keys()), array("f", params.logit_bias.values())
    structure = structures.Draw(
        seed=params.seed & (1 << 64) - 1,
        choice=draw.choice,
        temperature=params.temperature,
        top_p=params.top_p,
        min_p=params.min_p,
        repetition=params.repetition_penalty,
        presence=params.presence_penalty,
        frequency=params.frequency_penalty,
        top_k=params.top_k,
        alternatives=-1 if params.logprobs is None else params.logprobs,
        prompt=prompt.buffer_info()[0],
        answer=answer.buffer_info()[0],
        bias_ids=bias_ids.buffer_info()[0],
        bias_values=bias_values.buffer_info()[0],
        prompt_count=len(prompt),
        answer_count=len(answer),
        bias_count=len(bias_ids),
    )
    return _FilledDraw(params, structure, (prompt, answer, bias_ids, bias_values))
