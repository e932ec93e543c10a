"""Defines a step's plan: rank 0 to the other ranks of its gang, one way, one message per step.

Rows are tokens: prefill chunks and decode rows mix freely. Decoding owns block numbers, the backend owns the memory
behind them; a block holds BLOCK_TOKENS tokens.
"""

from msgspec import Struct

BLOCK_TOKENS = 16


class StepPlan(Struct, frozen=True, tag="step", array_like=True, kw_only=True):
    """Plans one forward pass: T rows, S sequences of at most B blocks each, W rows whose logits are wanted."""

    step: int
    tokens: tuple[int, ...]  # [T]
    positions: tuple[int, ...]  # [T]; rows of one sequence are adjacent and ascending
    rows_to_sequence: tuple[int, ...]  # [T], ascending, into block_tables
    block_tables: tuple[tuple[int, ...], ...]  # [S][<= B]
    wanted_rows: tuple[int, ...]  # [W], ascending, into the T rows


class Stop(Struct, frozen=True, tag="stop", array_like=True, kw_only=True):
    """Ends the steps: the rank may exit."""

    reason: str


ToRank = StepPlan | Stop
