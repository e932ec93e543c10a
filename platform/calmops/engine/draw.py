"""Defines the records of one token's draw, which every sampler takes and gives. Knows no logits and no tensor.

The rules of a draw stand in ``sampler_specification.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from calmops.messages.request import SamplingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """Says where and how one row's token is drawn."""

    params: SamplingParams
    choice: int
    position: int  # answer index of the token to draw
    prompt_ids: Sequence[int]
    answer_ids: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Holds a token, with log-probabilities of the unmodified distribution if they were asked for."""

    token_id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()  # (id, logprob), best first


def is_plain(params: SamplingParams) -> bool:
    """Say whether penalties and bias leave every score as it is, so that a draw needs no earlier token."""
    penalised = params.presence_penalty or params.frequency_penalty or params.repetition_penalty != 1.0
    return not penalised and not params.logit_bias
