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


class _Filled(NamedTuple):
    params: SamplingParams  # kept, so that its id stays its own
    draw: structures.Draw
    arrays: tuple["array[int] | array[float]", ...]  # what `draw` points to


class KernelSampler:
    """Fills the structures, once for each sequence whose draws don't look at its tokens."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._filled: dict[tuple[int, int], _Filled] = {}

    def sample(self, logits: torch.Tensor, draws: Sequence[Draw]) -> list[Drawn]:
        """One token per row of ``logits`` [W, V], the kernel's own (not modified), row i by ``draws[i]``."""
        assert logits.shape[0] == len(draws), f"{logits.shape[0]} rows of logits, {len(draws)} draws"
        count = len(draws)
        filled = [self._fill(draw) for draw in draws]
        most = max(0, *(one.draw.alternatives for one in filled))
        pointers = (ctypes.c_void_p * count)(*(ctypes.addressof(one.draw) for one in filled))
        positions = (ctypes.c_int32 * count)(*(draw.position for draw in draws))
        drawn = (structures.Drawn * count)()
        top_ids, top_logprobs = (ctypes.c_int32 * (count * most))(), (ctypes.c_float * (count * most))()
        where = [ctypes.addressof(one) for one in (pointers, positions, drawn, top_ids, top_logprobs)]
        self._kernel.draw(structures.Draws(count, logits.shape[1], most, logits.data_ptr(), *where))
        if not most and all(one.draw.alternatives < 0 for one in filled):
            return [Drawn(token_id=one.token) for one in drawn]
        found = []
        for row, (one, how) in enumerate(zip(drawn, filled, strict=True)):
            kept = min(how.draw.alternatives, logits.shape[1])
            if kept < 0:
                found.append(Drawn(token_id=one.token))
                continue
            at = slice(row * most, row * most + kept)
            top = tuple(zip(top_ids[at], top_logprobs[at], strict=True))
            found.append(Drawn(token_id=one.token, logprob=one.logprob, top=top))
        return found

    def _fill(self, draw: Draw) -> _Filled:
        key = (id(draw.params), draw.choice)
        found = self._filled.get(key)
        if found is None:
            found = _filled(draw)
            if is_plain(draw.params):
                while len(self._filled) >= _REMEMBERED:
                    del self._filled[next(iter(self._filled))]
                self._filled[key] = found
        return found


def _filled(draw: Draw) -> _Filled:
    params = draw.params
    looks = not is_plain(params)
    prompt, answer = (array("i", one if looks else ()) for one in (draw.prompt_ids, draw.answer_ids))
    bias_ids, bias_values = array("i", params.logit_bias.keys()), array("f", params.logit_bias.values())
    arrays: tuple[array[int] | array[float], ...] = (prompt, answer, bias_ids, bias_values)
    addresses = [one.buffer_info()[0] for one in arrays]
    how = structures.Draw(
        params.seed & (1 << 64) - 1, draw.choice, params.temperature, params.top_p, params.min_p,
        params.repetition_penalty, params.presence_penalty, params.frequency_penalty,
        params.top_k, -1 if params.logprobs is None else params.logprobs,
        *addresses, len(prompt), len(answer), len(bias_ids),
    )  # fmt: skip
    return _Filled(params, how, arrays)
