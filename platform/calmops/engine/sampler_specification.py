"""States the rules by which a token is drawn from logits, to be read: one row, plain Python floats, no speed.

Nothing here runs in service. ``sampler.py`` (torch, CPU), ``kernel/sampler.h`` (C++) and ``cuda/sampling.py`` (torch,
GPU) do the same to many rows, and tests/unit/calmops/engine/test_samplers.py compares each of them with this file.

The order of the rules: repetition penalty, presence and frequency penalties, logit bias, temperature, top-k, top-p,
min-p, noise. Everything is a function of the row and its ``Draw`` alone: no batch, no state, no random generator.

To add a parameter, change these places in turn; the test fails until the last of them agrees:

1. ``SamplingParams`` in messages/request.py; the API's field in intake/schema.py and intake/validate.py; and
   cli/request_replay.py, which sends a recorded request again.
2. This file, and a case in tests/support/engine/sampler_cases.py.
3. ``sampler.py``, whose ``adjust`` the GPU uses too; ``cuda/sampling.py``; ``kernel/sampler.h`` with its structure in
   ``kernel/structures.py`` and ``kernel/sampling.py``. If the parameter looks at earlier tokens, ``draw.is_plain`` too.
"""

import ctypes
import math
from collections.abc import Sequence

from calmops.engine.draw import Draw, Drawn
from calmops.messages.request import SamplingParams

_WORD = (1 << 64) - 1
_HALF = (1 << 32) - 1


def draw_token(logits: Sequence[float], draw: Draw) -> Drawn:
    """Draw one token from a row of logits, one for each vocabulary id; of equal scores the lowest id wins."""
    params = draw.params
    scores = adjusted_scores(logits, draw)
    if params.temperature == 0:
        token_id = _best(scores)
    else:
        tempered = [score / params.temperature for score in scores]
        kept = kept_ids(tempered, params)
        noisy = [
            score + noise(params.seed, draw.choice, draw.position, token_id) if token_id in kept else -math.inf
            for token_id, score in enumerate(tempered)
        ]
        token_id = _best(noisy)
    if params.logprobs is None:
        return Drawn(token_id=token_id)
    logprobs = log_probabilities(logits)
    best_first = sorted(range(len(logprobs)), key=lambda other: (-logprobs[other], other))
    top = tuple((other, logprobs[other]) for other in best_first[: params.logprobs])
    return Drawn(token_id=token_id, logprob=logprobs[token_id], top=top)


def adjusted_scores(logits: Sequence[float], draw: Draw) -> list[float]:
    """Return the logits with penalties and bias. Ids beyond the vocabulary are ignored."""
    params = draw.params
    adjusted = []
    for token_id, logit in enumerate(logits):
        score = logit
        if token_id in draw.prompt_ids or token_id in draw.answer_ids:
            score = score / params.repetition_penalty if score > 0 else score * params.repetition_penalty
        times_in_answer = draw.answer_ids.count(token_id)
        if times_in_answer:
            score -= params.presence_penalty + params.frequency_penalty * times_in_answer
        adjusted.append(score + params.logit_bias.get(token_id, 0.0))
    return adjusted


def kept_ids(tempered: Sequence[float], params: SamplingParams) -> set[int]:
    """Return the ids that top-k, then top-p, then min-p leave. Scores equal to the last one that is left stay too."""
    kept = sorted(range(len(tempered)), key=lambda token_id: -tempered[token_id])
    if 0 < params.top_k < len(tempered):
        kept = _down_to(tempered[kept[params.top_k - 1]], kept, tempered)
    if params.top_p < 1.0:
        kept = _down_to(_nucleus_floor([tempered[token_id] for token_id in kept], params.top_p), kept, tempered)
    if params.min_p > 0.0:
        kept = _down_to(tempered[kept[0]] + math.log(params.min_p), kept, tempered)
    return set(kept)


def log_probabilities(logits: Sequence[float]) -> list[float]:
    """Return the logarithm of each id's share of the unmodified distribution."""
    best = max(logits)
    total = best + math.log(math.fsum(math.exp(logit - best) for logit in logits))
    return [logit - total for logit in logits]


def noise(seed: int, choice: int, position: int, token_id: int) -> float:
    """Return the standard Gumbel noise of one vocabulary id at an answer position of one choice.

    The largest score plus noise then draws from softmax(scores). The hash is murmur3's 32-bit finaliser, twice, keyed
    by 64 bits that splitmix64 mixes.
    """
    key = 0
    for part in (seed, choice, position):
        key = (key ^ (part & _WORD)) + 0x9E3779B97F4A7C15 & _WORD
        key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 & _WORD
        key = (key ^ key >> 27) * 0x94D049BB133111EB & _WORD
        key ^= key >> 31
    mixed = _finalised(token_id * 0x9E3779B1 + (key & _HALF) & _HALF)
    bits = _finalised(mixed ^ key >> 32) & 0x7FFFFFFF
    # A float32 holds 31 bits only where they are small: there the largest noise comes from, which decides.
    uniform = min(_float32(_float32(bits) + 0.5) * 2.0**-31, 1.0 - 2.0**-24)
    return -math.log(-math.log1p(-uniform))


def _best(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=lambda token_id: (scores[token_id], -token_id))


def _down_to(floor: float, kept: Sequence[int], tempered: Sequence[float]) -> list[int]:
    return [token_id for token_id in kept if tempered[token_id] >= floor]


def _nucleus_floor(best_first: Sequence[float], top_p: float) -> float:
    """Return the last score of the smallest set of best ones whose probability reaches ``top_p``; of one at least."""
    weights = [math.exp(score - best_first[0]) for score in best_first]
    total, reached = math.fsum(weights), 0.0
    for score, weight in zip(best_first, weights, strict=True):
        reached += weight
        if reached >= top_p * total:
            return score
    return best_first[-1]


def _finalised(x: int) -> int:
    """Return murmur3's fmix32 of a 32-bit value."""
    x = (x ^ x >> 16) * 0x85EBCA6B & _HALF
    x = (x ^ x >> 13) * 0xC2B2AE35 & _HALF
    return x ^ x >> 16


def _float32(value: float) -> float:
    """Round to the nearest float32."""
    return ctypes.c_float(value).value
