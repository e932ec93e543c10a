"""A step's plan: rank 0 to the other ranks of its gang, one way, one message a step.

Rows are tokens: prefill chunks and decode rows mix freely. Decoding owns block numbers,
the backend owns the memory behind them; 16 tokens a block.
"""

from msgspec import Struct

BLOCK_TOKENS = 16


class StepPlan(Struct, frozen=True, tag="step", array_like=True, kw_only=True):
    """One forward pass. T rows, S sequences, at most B blocks each, W wanted logits rows."""

    step: int
    tokens: tuple[int, ...]  # [T]
    positions: tuple[int, ...]  # [T]; rows of one sequence are adjacent and ascending
    rows_to_sequence: tuple[int, ...]  # [T], ascending, into block_tables
    block_tables: tuple[tuple[int, ...], ...]  # [S][<= B]
    wanted_rows: tuple[int, ...]  # [W], ascending, into the T rows


class Stop(Struct, frozen=True, tag="stop", array_like=True, kw_only=True):
    """No more steps: the rank may exit."""

    reason: str


ToRank = StepPlan | Stop
