"""Draws tokens from logits on a GPU, by the rules of ``sampler_specification.py``, for all rows together.

A step of greedy rows waits for the device once. What only some rows ask for is done for those rows. Whatever sums over
the vocabulary is summed as whole numbers, exactly in any order: a GPU's sums and scans of fractions round by how many
rows there are, and a token must not depend on that.
"""

from collections.abc import Sequence

import torch

from calmops.engine.draw import Draw, Drawn
from calmops.engine.noise import gumbel
from calmops.engine.sampler import adjusted_rows
from calmops.messages.request import SamplingParams

_ONE = 2.0**40


def draw(logits: torch.Tensor, draws: Sequence[Draw]) -> list[Drawn]:
    """Draw one token per row of ``logits`` [W, V] (float32, not modified), row i by ``draws[i]``."""
    assert logits.shape[0] == len(draws), f"{logits.shape[0]} rows of logits, {len(draws)} draws"
    adjusted = adjusted_rows(logits, draws)
    ids = adjusted.argmax(dim=-1)
    warm = [i for i, one in enumerate(draws) if one.params.temperature > 0]
    if warm:
        params = [draws[i].params for i in warm]
        scaled = adjusted[warm] / _column([one.temperature for one in params], logits)
        scaled = _truncated(scaled, params)
        coordinates = [(draws[i].params.seed, draws[i].choice, draws[i].position) for i in warm]
        ids[warm] = (scaled + gumbel(coordinates, logits.shape[1], logits.device)).argmax(dim=-1)
    reported = [i for i, one in enumerate(draws) if one.params.logprobs is not None]
    if not reported:
        return [Drawn(token_id=token_id) for token_id in ids.tolist()]
    return _with_logprobs(logits, draws, ids, reported)


def _truncated(scaled: torch.Tensor, params: Sequence[SamplingParams]) -> torch.Tensor:
    """Return ``scaled`` with everything outside top-k, top-p and min-p at minus infinity; ties at an edge stay in."""
    vocabulary = scaled.shape[1]
    rows = [i for i, one in enumerate(params) if 0 < one.top_k < vocabulary or one.top_p < 1.0]
    if rows:
        best = scaled[rows].sort(dim=-1, descending=True).values
        counts = [params[i].top_k if 0 < params[i].top_k < vocabulary else vocabulary for i in rows]
        floor = best.gather(1, _column(counts, scaled, torch.int64) - 1)
        weights = _weights(best.masked_fill(best < floor, -torch.inf))
        top_p = _column([params[i].top_p for i in rows], scaled, torch.float64)
        reached = torch.cumsum(weights, dim=-1).double() < top_p * weights.sum(dim=-1, keepdim=True).double()
        inside = reached.sum(dim=-1, keepdim=True).clamp_(max=vocabulary - 1)  # before the one that reaches it
        nucleus = torch.where(top_p < 1.0, best.gather(1, inside), -torch.inf)
        scaled[rows] = scaled[rows].masked_fill(scaled[rows] < torch.maximum(floor, nucleus), -torch.inf)
    least = [one.min_p for one in params]
    if any(least):  # the logarithm of 0 leaves a row as it is
        scaled = scaled.masked_fill(
            scaled < scaled.amax(dim=-1, keepdim=True) + _column(least, scaled).log(), -torch.inf
        )
    return scaled


def _with_logprobs(logits: torch.Tensor, draws: Sequence[Draw], ids: torch.Tensor, reported: list[int]) -> list[Drawn]:
    """Return the drawn ``ids`` [W], with log-probabilities of the unmodified distribution for the ``reported`` rows."""
    scores = logits[reported]
    total = _weights(scores).sum(dim=-1, keepdim=True).double() / _ONE
    logprobs = scores - (scores.amax(dim=-1, keepdim=True) + total.log().float())
    alternatives = [min(draws[i].params.logprobs or 0, logits.shape[1]) for i in reported]
    best = torch.topk(logprobs, max(alternatives), dim=-1)
    own = logprobs.gather(1, ids[reported][:, None])[:, 0]
    drawn = [Drawn(token_id=token_id) for token_id in ids.tolist()]
    columns = (reported, alternatives, own.tolist(), best.indices.tolist(), best.values.tolist())
    for i, count, logprob, tokens, values in zip(*columns, strict=True):
        top = tuple(zip(tokens[:count], values[:count], strict=True))
        drawn[i] = Drawn(token_id=drawn[i].token_id, logprob=logprob, top=top)
    return drawn


def _weights(scores: torch.Tensor) -> torch.Tensor:
    """Return exp(score - the row's largest) in units of 1/_ONE, int64; up to 2^22 of them can be added."""
    return (torch.exp(scores - scores.amax(dim=-1, keepdim=True)) * _ONE).to(torch.int64)


def _column(values: Sequence[float], like: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype).to(like.device, non_blocking=True)[:, None]
