"""The scheduler: which token rows run in the next step. Pure: no torch, no clock, no I/O.

Sequences run and wait in the order of their submission, always: the oldest are admitted first, and when the cache is
full the newest is preempted (recomputed later). Decode rows come first, prefill chunks take the rest of a step's rows.

How long a sequence waits. The oldest unfinished sequence is never preempted and moves in every step: by one token once
it decodes, before that by at least R - S + 1 rows (R rows a step, S sequences). So a waiting sequence runs after at most
K = 1 + the sum, over all older unfinished sequences a, of ceil(L(a) / (R - S + 1)) + M(a) steps, where M(a) is what a may
still generate and L(a) its tokens so far plus M(a). ``waits_at_most`` computes K.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from calmops.decoding.blocks import BlockPool, blocks_for
from calmops.decoding.sequence import Sequence
from calmops.decoding.stopping import finish_reason
from calmops.foundation.errors import InputError
from calmops.messages.plan import BLOCK_TOKENS, StepPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The scheduler's hard bounds."""

    kv_blocks: int
    max_sequences: int  # running at once
    max_rows_per_step: int  # tokens through one forward pass; at least max_sequences
    max_model_len: int  # tokens of prompt and output

    def __post_init__(self) -> None:
        assert 1 <= self.max_sequences <= self.max_rows_per_step, f"{self.max_sequences=} {self.max_rows_per_step=}"


@dataclass(frozen=True, slots=True)
class Share:
    """One sequence's rows in a step."""

    sequence: Sequence
    rows: int
    prefilled: int  # prompt tokens among them that are computed for the first time
    recomputed: int  # tokens among them that were computed before


@dataclass(frozen=True, slots=True)
class Work:
    """One step's plan and what its rows mean."""

    plan: StepPlan
    wanted: tuple[Sequence, ...]  # one a wanted row, in order
    shares: tuple[Share, ...]
    decode_rows: int
    prefill_rows: int
    preempted: int


@dataclass(frozen=True, slots=True)
class Emission:
    """One sampled token, journaled in its sequence."""

    sequence: Sequence
    index: int  # answer index
    token_id: int
    finish_reason: str | None


class Scheduler:
    """Owns every sequence between submit and its end, and every block number."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.pool = BlockPool(limits.kv_blocks)
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._step = 0

    @property
    def running(self) -> int:
        """Sequences holding cache blocks."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Sequences not scheduled, preempted ones included."""
        return len(self._waiting)

    def live(self) -> Iterable[Sequence]:
        """Every sequence that hasn't ended, oldest first."""
        yield from self._running
        yield from self._waiting

    def submit(self, sequences: list[Sequence]) -> None:
        """Queue sequences, all or none. InputError if one could never fit."""
        for sequence in sequences:
            self._check(sequence)
        self._waiting.extend(sequences)

    def cancel(self, request_id: str, attempt: int) -> list[Sequence]:
        """End that attempt's sequences and older attempts', freeing their blocks now; those that were live."""
        ended = [one for one in self.live() if one.request_id == request_id and one.attempt <= attempt]
        for sequence in ended:
            self.finish(sequence, "cancelled")
        return ended

    def finish(self, sequence: Sequence, reason: str) -> None:
        """End a live sequence and free its blocks."""
        assert sequence.finish_reason is None, f"{sequence.key} ended before: {sequence.finish_reason}"
        sequence.finish_reason = reason
        self._free(sequence)
        (self._running if sequence in self._running else self._waiting).remove(sequence)

    def waits_at_most(self, sequence: Sequence) -> int:
        """K of the module's docstring: steps until a waiting sequence's first rows run."""
        chunk = self.limits.max_rows_per_step - self.limits.max_sequences + 1
        steps = 1
        for older in self.live():
            if older is sequence:
                break
            left = min(older.params.max_tokens, self.limits.max_model_len) - len(older.output_ids)
            steps += -(-(older.length + left) // chunk) + left
        return steps

    def plan(self) -> Work | None:
        """The next step; None if nothing is live."""
        preempted = self._grow()
        rows_left = self.limits.max_rows_per_step - sum(1 for one in self._running if one.length - one.computed == 1)
        taken: list[tuple[Sequence, int]] = []
        for sequence in self._running:
            pending = sequence.length - sequence.computed
            rows = 1 if pending == 1 else min(pending, rows_left)
            if rows:
                taken.append((sequence, rows))
                rows_left -= rows if pending > 1 else 0
        while rows_left > 0 and self._waiting and self._admit(self._waiting[0]):
            sequence = self._waiting.popleft()
            self._running.append(sequence)
            rows = min(sequence.length, rows_left)
            taken.append((sequence, rows))
            rows_left -= rows
        if not taken:
            assert not self._running, "running sequences without a row"
            assert not self._waiting, "waiting sequences, an empty cache, and none admitted"
            return None
        return self._work(taken, preempted)

    def commit(self, work: Work, token_ids: "list[int]") -> tuple[Emission, ...]:
        """Take the sampled tokens, one a wanted row. Tokens of sequences that ended meanwhile are ignored."""
        assert len(token_ids) == len(work.wanted), f"{len(token_ids)} tokens for {len(work.wanted)} wanted rows"
        for share in work.shares:
            sequence = share.sequence
            if sequence.finish_reason is None:
                sequence.computed += share.rows
                sequence.ever_computed = max(sequence.ever_computed, sequence.computed)
        emissions = []
        for sequence, token_id in zip(work.wanted, token_ids, strict=True):
            if sequence.finish_reason is not None:
                continue
            sequence.output_ids.append(token_id)
            reason = finish_reason(sequence, self.limits.max_model_len)
            emissions.append(Emission(sequence, len(sequence.output_ids) - 1, token_id, reason))
            if reason is not None:
                self.finish(sequence, reason)
        return tuple(emissions)

    def _check(self, sequence: Sequence) -> None:
        longest = min(len(sequence.prompt_ids) + sequence.params.max_tokens, self.limits.max_model_len)
        if sequence.length >= self.limits.max_model_len:
            raise InputError(
                f"prompt and answer so far have {sequence.length} tokens; the context holds "
                f"{self.limits.max_model_len}, the next token included", param="max_tokens",
            )  # fmt: skip
        if blocks_for(longest) > self.pool.total:
            raise InputError(
                f"prompt + max_tokens needs {longest} tokens of cache; the replica has "
                f"{self.pool.total * BLOCK_TOKENS}: ask for fewer tokens, or raise kv_blocks", param="max_tokens",
            )  # fmt: skip

    def _grow(self) -> int:
        """See that every running sequence that decodes has a block for its next token; how many were preempted."""
        preempted = 0
        position = 0
        while position < len(self._running):
            sequence = self._running[position]
            missing = blocks_for(sequence.length) - len(sequence.blocks)
            while missing > self.pool.free:
                preempted += 1
                if self._preempt() is sequence:
                    return preempted
            if missing > 0:
                sequence.blocks += self.pool.allocate(missing)
            position += 1
        return preempted

    def _preempt(self) -> Sequence:
        victim = self._running.pop()
        self._free(victim)
        self._waiting.appendleft(victim)
        return victim

    def _admit(self, sequence: Sequence) -> bool:
        """Give the sequence blocks for all its tokens, if they can be had and leave one to grow for each running one."""
        needed = blocks_for(sequence.length)
        if len(self._running) >= self.limits.max_sequences or self.pool.free < needed + len(self._running):
            return False
        sequence.blocks = self.pool.allocate(needed)
        return True

    def _free(self, sequence: Sequence) -> None:
        self.pool.release(sequence.blocks)
        sequence.blocks = []
        sequence.computed = 0

    def _work(self, taken: list[tuple[Sequence, int]], preempted: int) -> Work:
        tokens: list[int] = []
        positions: list[int] = []
        owners: list[int] = []
        wanted_rows: list[int] = []
        wanted: list[Sequence] = []
        shares: list[Share] = []
        decode_rows = 0
        for number, (sequence, rows) in enumerate(taken):
            start, end = sequence.computed, sequence.computed + rows
            tokens += sequence.ids(start, end)
            positions += range(start, end)
            owners += [number] * rows
            if end == sequence.length:
                wanted_rows.append(len(tokens) - 1)
                wanted.append(sequence)
            decode_rows += rows == 1 and end == sequence.length and bool(sequence.output_ids)
            recomputed = max(0, min(end, sequence.ever_computed) - start)
            prefilled = max(0, min(end, len(sequence.prompt_ids)) - max(start, sequence.ever_computed))
            shares.append(Share(sequence, rows, prefilled, recomputed))
        self._step += 1
        plan = StepPlan(
            step=self._step, tokens=tuple(tokens), positions=tuple(positions), rows_to_sequence=tuple(owners),
            block_tables=tuple(tuple(sequence.blocks) for sequence, _ in taken), wanted_rows=tuple(wanted_rows),
        )  # fmt: skip
        return Work(plan, tuple(wanted), tuple(shares), decode_rows, len(tokens) - decode_rows, preempted)
