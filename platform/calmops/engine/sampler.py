"""Draws tokens from logits in torch on the CPU, without state: a row's token is the same whatever batch it is in.

The rules and their order stand in ``sampler_specification.py``; change that first. Whatever sums over the vocabulary is
done row by row, since a batched sum may round differently.
"""

from collections.abc import Sequence

import torch

from calmops.engine.draw import Draw, Drawn, is_plain
from calmops.engine.noise import gumbel
from calmops.messages.request import SamplingParams

_NUCLEUS_GUESS = 256  # most nuclei are smaller: sorting these few saves sorting the vocabulary


def sample(logits: torch.Tensor, draws: Sequence[Draw]) -> list[Drawn]:
    """Draw one token per row of ``logits`` [W, V] (float32, CPU; not modified), row i by ``draws[i]``."""
    assert logits.shape[0] == len(draws), f"{logits.shape[0]} rows of logits, {len(draws)} draws"
    adjusted = adjusted_rows(logits, draws)
    ids = adjusted.argmax(dim=-1)
    warm = [i for i, draw in enumerate(draws) if draw.params.temperature > 0]
    if warm:
        temperatures = torch.tensor([[draws[i].params.temperature] for i in warm], dtype=torch.float32)
        scaled = adjusted[warm] / temperatures
        for row, i in enumerate(warm):
            _truncate(scaled[row], draws[i].params)
        coordinates = [(draws[i].params.seed, draws[i].choice, draws[i].position) for i in warm]
        ids[warm] = (scaled + gumbel(coordinates, logits.shape[1])).argmax(dim=-1)
    return [_drawn(logits[i], token_id, draws[i].params.logprobs) for i, token_id in enumerate(ids.tolist())]


def log_probabilities(row: torch.Tensor) -> torch.Tensor:
    """Return the log softmax of one row [V] float32."""
    return row - torch.logsumexp(row, dim=-1)


def adjust(row: torch.Tensor, draw: Draw) -> None:
    """Apply penalties and bias to one row [V], in place. Ids beyond the row are ignored."""
    params = draw.params
    if params.repetition_penalty != 1.0:
        # A prompt may hold ids of a padded vocabulary, which no row of logits has.
        known = sorted(token_id for token_id in {*draw.prompt_ids, *draw.answer_ids} if token_id < row.shape[0])
        seen = torch.tensor(known, dtype=torch.int64, device=row.device)
        values = row[seen]
        penalty = params.repetition_penalty
        row[seen] = torch.where(values > 0, values / penalty, values * penalty)
    if (params.presence_penalty or params.frequency_penalty) and draw.answer_ids:
        answer = [token_id for token_id in draw.answer_ids if token_id < row.shape[0]]
        answered, counts = torch.tensor(answer, dtype=torch.int64).unique(return_counts=True)
        penalties = params.presence_penalty + params.frequency_penalty * counts.to(torch.float32)
        row[answered.to(row.device)] -= penalties.to(row.device)
    for token_id, bias in params.logit_bias.items():
        if 0 <= token_id < row.shape[0]:
            row[token_id] += bias


def adjusted_rows(logits: torch.Tensor, draws: Sequence[Draw]) -> torch.Tensor:
    """Return ``logits`` [W, V] with every row's penalties and bias; the same tensor if no row asks for any."""
    changed = [i for i, draw in enumerate(draws) if not is_plain(draw.params)]
    if not changed:
        return logits
    adjusted = logits.clone()
    for i in changed:
        adjust(adjusted[i], draws[i])
    return adjusted


def _truncate(row: torch.Tensor, params: SamplingParams) -> None:
    """Set everything outside top-k, top-p and min-p to minus infinity, in place; ties at an edge stay in."""
    floor = -torch.inf
    if 0 < params.top_k < row.shape[0]:
        floor = float(torch.topk(row, params.top_k).values[-1])
        row.masked_fill_(row < floor, -torch.inf)
    if params.top_p < 1.0:
        row.masked_fill_(row < _nucleus_floor(row, params.top_p), -torch.inf)
    if params.min_p > 0.0:
        least = float(row.max()) + float(torch.log(torch.tensor(params.min_p, dtype=torch.float32)))
        row.masked_fill_(row < least, -torch.inf)


def _nucleus_floor(row: torch.Tensor, top_p: float) -> float:
    """Return the smallest logit of the smallest set of best tokens whose probability reaches ``top_p``."""
    total = torch.logsumexp(row, dim=-1)
    for size in (min(_NUCLEUS_GUESS, row.shape[0]), row.shape[0]):
        best = torch.topk(row, size).values
        reached = torch.cumsum(torch.exp(best - total), dim=-1)
        inside = int((reached < top_p).sum())  # tokens before the one that reaches it
        if inside < size:
            return float(best[inside])
    return float(best[-1])


def _drawn(row: torch.Tensor, token_id: int, alternatives: int | None) -> Drawn:
    if alternatives is None:
        return Drawn(token_id=token_id)
    logprobs = log_probabilities(row)
    best = torch.topk(logprobs, min(alternatives, row.shape[0]))
    top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return Drawn(token_id=token_id, logprob=float(logprobs[token_id]), top=top)
