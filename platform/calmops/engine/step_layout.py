"""Turns a step's plan into tensors: which cache slots its rows write, and which rows read which keys together.

It is made once per step and used by every layer. There are two recipes: the fast one batches sequences of about equal
length; ``exact`` pads every product to shapes whose bits don't depend on the rest of the batch. Knows no model.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch

from calmops.messages.plan import BLOCK_TOKENS, StepPlan

EXACT_ROWS = 4  # token rows and wanted rows are padded to a multiple of this
EXACT_KEYS = 64  # keys are padded to a multiple of this


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Holds n sequences with t rows each that attend together over K slots."""

    rows: torch.Tensor  # [n, t] int64, into the step's rows
    key_slots: torch.Tensor  # [n, K] int64, into the layer's memory, position 0 first
    positions: torch.Tensor  # [n, t] int64, of the rows


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLayout:
    """Holds T rows and the W of them whose logits are wanted, padded ones included in both."""

    tokens: torch.Tensor  # [1, T] int64
    positions: torch.Tensor  # [1, T] int64
    write_slots: torch.Tensor  # [T] int64
    wanted: torch.Tensor  # [W] int64
    groups: tuple[Group, ...]


def lay_out(plan: StepPlan, scratch_block: int, *, exact: bool) -> StepLayout:
    """Return the plan as tensors. Rows beyond the plan's, and short block tables, point to scratch."""
    rows = len(plan.tokens)
    padding = -rows % EXACT_ROWS if exact else 0
    tables = _slot_tables(plan, scratch_block)
    positions = torch.tensor(plan.positions, dtype=torch.int64)
    write_slots = tables[torch.tensor(plan.rows_to_sequence, dtype=torch.int64), positions]
    scratch_slots = torch.full((padding,), scratch_block * BLOCK_TOKENS, dtype=torch.int64)
    wanted = plan.wanted_rows + (0,) * (-len(plan.wanted_rows) % EXACT_ROWS if exact else 0)
    return StepLayout(
        tokens=torch.tensor([plan.tokens + (0,) * padding], dtype=torch.int64),
        positions=torch.tensor([plan.positions + (0,) * padding], dtype=torch.int64),
        write_slots=torch.cat([write_slots, scratch_slots]),
        wanted=torch.tensor(wanted, dtype=torch.int64),
        groups=tuple(_groups(plan, tables, exact)),
    )


def _slot_tables(plan: StepPlan, scratch_block: int) -> torch.Tensor:
    """Return each sequence's cache slots by position, [S, slots] int64, padded with scratch to EXACT_KEYS' multiple."""
    per_pad = EXACT_KEYS // BLOCK_TOKENS
    longest = max(len(table) for table in plan.block_tables)
    width = longest + -longest % per_pad
    blocks = torch.tensor(
        [table + (scratch_block,) * (width - len(table)) for table in plan.block_tables], dtype=torch.int64
    )
    return (blocks[:, :, None] * BLOCK_TOKENS + torch.arange(BLOCK_TOKENS)).flatten(1)


def _groups(plan: StepPlan, tables: torch.Tensor, exact: bool) -> list[Group]:
    """Group sequences of one row each whose contexts are about equally long; a prefill chunk has a group of its own."""
    members: dict[tuple[int, int, int], list[tuple[int, int, int]]] = {}
    for sequence, (start, end) in _spans(plan.rows_to_sequence):
        context = plan.positions[end - 1] + 1
        length_class = context + -context % EXACT_KEYS if exact else (context - 1).bit_length()
        alone = sequence + 1 if end - start > 1 else 0
        members.setdefault((end - start, length_class, alone), []).append((sequence, start, context))
    groups = []
    for (length, length_class, _), group in members.items():
        keys = length_class if exact else max(context for _, _, context in group)
        rows = torch.tensor([start for _, start, _ in group])[:, None] + torch.arange(length)
        positions = torch.tensor([plan.positions[start] for _, start, _ in group])[:, None] + torch.arange(length)
        slots = tables[torch.tensor([sequence for sequence, _, _ in group]), :keys]
        groups.append(Group(rows=rows, key_slots=slots, positions=positions))
    return groups


def _spans(rows_to_sequence: tuple[int, ...]) -> list[tuple[int, tuple[int, int]]]:
    """Return each sequence that has rows, with the half-open range of them."""
    starts = [0] + [i for i in range(1, len(rows_to_sequence)) if rows_to_sequence[i] != rows_to_sequence[i - 1]]
    return [(rows_to_sequence[a], (a, b)) for a, b in pairwise([*starts, len(rows_to_sequence)])]
