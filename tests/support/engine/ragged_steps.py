"""Runs ragged steps over a backend: seeded mixtures of prefill chunks and decode rows over permuted cache blocks."""

import random
from collections.abc import Sequence

import torch

from calmops.engine.backends.protocol import Backend
from calmops.messages.plan import BLOCK_TOKENS, StepPlan


def random_sequences(seed: int, lengths: Sequence[int], vocabulary: int) -> list[list[int]]:
    """Return sequences of random token ids with the given lengths."""
    rng = random.Random(seed)
    return [[rng.randrange(3, vocabulary) for _ in range(length)] for length in lengths]


def ragged_logits(
    backend: Backend, sequences: Sequence[Sequence[int]], blocks: int, seed: int
) -> dict[tuple[int, int], torch.Tensor]:
    """Run the sequences through the backend in random chunks side by side; return logits [V] by (sequence, position).

    Sequences start and pause at random, so each step's batch differs. On ranks above 0 the result is empty.
    """
    rng = random.Random(seed)
    free = list(range(blocks))
    rng.shuffle(free)
    tables = [tuple(free.pop() for _ in range(-(-len(ids) // BLOCK_TOKENS))) for ids in sequences]
    done = [0] * len(sequences)
    by_end: dict[tuple[int, int], torch.Tensor] = {}
    step = 0
    while any(done[s] < len(sequences[s]) for s in range(len(sequences))):
        step += 1
        plan, ends = _random_step(sequences, tables, done, (rng, step))
        if not plan.tokens:
            continue
        logits = backend.step(plan)
        if logits is not None:
            by_end |= {end: logits[row] for row, end in enumerate(ends)}
    return by_end


def _random_step(
    sequences: Sequence[Sequence[int]],
    tables: list[tuple[int, ...]],
    done: list[int],
    chance: tuple[random.Random, int],
) -> tuple[StepPlan, list[tuple[int, int]]]:
    rng, step = chance
    rows: list[tuple[int, int, int]] = []
    ends: list[tuple[int, int]] = []
    wanted: list[int] = []
    for s, ids in enumerate(sequences):
        take = min(rng.choice((0, 1, 1, 1, 5, 16)), len(ids) - done[s])
        first = len(rows)
        rows += [(ids[done[s] + i], done[s] + i, s) for i in range(take)]
        for i in range(take):
            if i == take - 1 or rng.random() < 0.5:  # any row's logits may be wanted
                wanted.append(first + i)
                ends.append((s, done[s] + i))
        done[s] += take
    plan = StepPlan(
        step=step,
        tokens=tuple(token for token, _, _ in rows),
        positions=tuple(position for _, position, _ in rows),
        rows_to_sequence=tuple(s for _, _, s in rows),
        block_tables=tuple(tables),
        wanted_rows=tuple(wanted),
    )
    return plan, ends
