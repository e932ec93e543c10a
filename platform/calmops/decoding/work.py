"""Holds one step's work: what the scheduler gives the engine to compute, and what it makes of the step's tokens.

It knows no torch, no text and no request.
"""

from itertools import repeat

from msgspec import Struct

from calmops.decoding.sequence import Sequence
from calmops.messages.plan import StepPlan


class Share(Struct, frozen=True, kw_only=True):
    """Holds one sequence's part of a step, in rows (one row per token)."""

    sequence: Sequence
    rows: int
    prefilled: int  # rows, except the new decode row
    recomputed: int  # rows of tokens that were computed before (preemption, migration, fork)
    cached: int  # prompt tokens taken over from shared blocks, reported once


class Work(Struct, frozen=True, kw_only=True):
    """Holds one step. ``wanted[i]`` is the sequence of ``plan.wanted_rows[i]``."""

    plan: StepPlan
    wanted: tuple[Sequence, ...]
    shares: tuple[Share, ...]
    decode_rows: int
    prefill_rows: int
    preempted: int  # sequences preempted to make this plan


class Emission(Struct, frozen=True, kw_only=True):
    """Reports a token that joins its sequence's output at answer index ``index``, and the end, if it is the last."""

    sequence: Sequence
    index: int
    token_id: int
    finish_reason: str | None


class Draft:
    """Collects a step's plan; ``left`` is what remains of its row budget, in rows."""

    __slots__ = (
        "decode_rows", "left", "positions", "prefill_rows", "rows_to_sequence", "shares",
        "tables", "tokens", "wanted", "wanted_rows",
    )  # fmt: skip

    def __init__(self, max_rows: int) -> None:
        self.left = max_rows
        self.decode_rows = 0
        self.prefill_rows = 0
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.rows_to_sequence: list[int] = []
        self.tables: list[tuple[int, ...]] = []
        self.wanted_rows: list[int] = []
        self.wanted: list[Sequence] = []
        self.shares: list[Share] = []

    def add(self, sequence: Sequence, pending: int) -> None:
        """Give the sequence rows for its next tokens: all ``pending`` ones, or as many as are left."""
        rows = min(pending, self.left)
        start = sequence.computed
        end = start + rows
        if rows == 1:
            prompt = len(sequence.prompt_ids)
            self.tokens.append(sequence.output_ids[start - prompt] if start >= prompt else sequence.prompt_ids[start])
            self.positions.append(start)
            self.rows_to_sequence.append(len(self.tables))
        else:
            self.tokens += sequence.ids(start, end)
            self.positions += range(start, end)
            self.rows_to_sequence += repeat(len(self.tables), rows)
        self.tables.append(tuple(sequence.blocks))
        self.left -= rows
        if rows == pending:
            self.wanted_rows.append(len(self.tokens) - 1)
            self.wanted.append(sequence)
        self._count(sequence, rows)

    def _count(self, sequence: Sequence, rows: int) -> None:
        start = sequence.computed
        end = start + rows
        ever = sequence.ever_computed
        # A decode row feeds an output token for the first time; only the last known token can be new.
        decode = 1 if end > ever and end > len(sequence.prompt_ids) else 0
        self.decode_rows += decode
        self.prefill_rows += rows - decode
        self.shares.append(
            Share(
                sequence=sequence,
                rows=rows,
                prefilled=rows - decode,
                recomputed=max(0, min(end, ever) - start) if start < ever else 0,
                cached=sequence.cached,
            )
        )

    def work(self, step: int, preempted: int) -> Work:
        """Return the finished plan, as the ``step``-th forward pass."""
        return Work(
            plan=StepPlan(
                step=step,
                tokens=tuple(self.tokens),
                positions=tuple(self.positions),
                rows_to_sequence=tuple(self.rows_to_sequence),
                block_tables=tuple(self.tables),
                wanted_rows=tuple(self.wanted_rows),
            ),
            wanted=tuple(self.wanted),
            shares=tuple(self.shares),
            decode_rows=self.decode_rows,
            prefill_rows=self.prefill_rows,
            preempted=preempted,
        )
