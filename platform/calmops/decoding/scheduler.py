"""Schedules a replica's sequences: decides which token rows run in the next step. Knows no torch, clock or I/O.

The line. Sequences always stand in the order of their submission: those that run are the front part of the line,
those that wait the rest. The first waiting one is admitted first. When the cache is full, the last running one is
preempted: it goes back to the front of those that wait, and is recomputed later. In a step, rows go first to every
sequence with one token to feed (the decoders), then to the longer ones in line order, in chunks of what is left, then
to admissions. So no prompt stalls a decoder.

How long a sequence waits. Let R = max_rows_per_step, S = max_sequences, c = R - S + 1 >= 1. The first sequence of the
line is never preempted. In each step it gets a row if it decodes, otherwise at least c rows or all it needs. So it ends
within ceil(P/c) + M steps after it became first, whether it was preempted before or not (P prompt tokens; M is
max_tokens, never more than the context leaves). A waiting sequence gets its next rows after at most

    K = sum, over the unfinished sequences a ahead of it, of  w(a) * (ceil(P(a) / c) + M(a) * e(a))

further steps, that is in step K + 1 at the latest. w(a) is a's beam width (1 without a search); e(a) is 1, or
BLOCK_TOKENS for a beam search, whose forks each feed up to a block again. ``waits_at_most`` computes K;
tests/unit/calmops/decoding and tests/proofs/engine/scheduler-keeps-its-promises check it.

Beams. The sequences of one search are a unit: they share ``key``, are adjacent in the line, are admitted in order and
preempted together. A unit counts as w of the S seats from its first member on.
"""

from collections import deque
from collections.abc import Iterable
from collections.abc import Sequence as Ordered

from calmops.decoding.blocks import BlockPool, blocks_for
from calmops.decoding.limits import Limits
from calmops.decoding.prefix import names
from calmops.decoding.sequence import Sequence
from calmops.decoding.stopping import finish_reason
from calmops.decoding.work import Draft, Emission, Share, Work
from calmops.foundation.errors import InputError, LoadError
from calmops.messages.plan import BLOCK_TOKENS

__all__ = ["Emission", "Limits", "Scheduler", "Share", "Work"]


class Scheduler:
    """Owns every sequence from submit to its end, and every block number."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.pool = BlockPool(limits.kv_blocks)
        self._running: list[Sequence] = []
        self._waiting: deque[Sequence] = deque()
        self._step = 0
        self._in_flight: Work | None = None

    @property
    def running(self) -> int:
        """Return how many sequences hold cache blocks."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Return how many sequences hold none, preempted ones included."""
        return len(self._waiting)

    @property
    def kv_blocks_used(self) -> int:
        """Return how many blocks are held; a shared one counts once."""
        return self.pool.used

    @property
    def kv_blocks_total(self) -> int:
        """Return the cache budget, in blocks."""
        return self.pool.total

    def live(self) -> Iterable[Sequence]:
        """Return every sequence that hasn't ended, in line order (a copy: they may end while it is read)."""
        return [*self._running, *self._waiting]

    def submit(self, sequences: Ordered[Sequence]) -> None:
        """Put new sequences at the end of the line, all or none.

        Raises InputError for a sequence that could never run, LoadError when too many wait.
        """
        keys = {sequence.key for sequence in self.live()}
        for sequence in sequences:
            if sequence.key in keys:
                raise InputError(f"this attempt at request {sequence.request_id} is already here")
            self.limits.check(sequence)
            if not self.limits.prefix_cache:
                sequence.salt = str(sequence.stream_token).encode()
        if len(self._waiting) + len(sequences) > self.limits.max_waiting:
            raise LoadError(
                f"{len(self._waiting)} sequences wait; {len(sequences)} more would exceed the limit of "
                f"{self.limits.max_waiting}"
            )
        self._waiting.extend(sequences)

    def cancel(self, stream_token: int) -> list[Sequence]:
        """End a placement's live sequences and free their blocks now.

        Returns the sequences that it ended; of a beam search, that is every live beam, all with one key.
        """
        ended = [sequence for sequence in self.live() if sequence.stream_token == stream_token]
        for sequence in ended:
            self.finish(sequence, "cancelled")
        return ended

    def finish(self, sequence: Sequence, reason: str) -> bool:
        """End a sequence and free its blocks; return False, and do nothing, if it had ended before."""
        if sequence.finish_reason is not None:
            return False
        sequence.finish_reason = reason
        (self._running if sequence in self._running else self._waiting).remove(sequence)
        self._release(sequence)
        return True

    def plan(self) -> Work | None:
        """Plan the next step, or None when no sequence has a token to feed; ``commit`` it before the next plan."""
        assert self._in_flight is None, "a step is in flight: commit it first"
        preempted = self._secure_blocks()
        draft = Draft(self.limits.max_rows_per_step)
        longer = []
        for sequence in self._running:
            pending = sequence.pending
            if pending == 1:
                draft.add(sequence, 1)
            elif pending:
                longer.append((sequence, pending))
        for sequence, pending in longer:
            if draft.left:
                draft.add(sequence, pending)
        if self._waiting and not preempted:
            self._admit(draft)
        if not draft.tokens:
            return None
        self._step += 1
        self._in_flight = draft.work(self._step, preempted)
        return self._in_flight

    def commit(self, work: Work, token_ids: Ordered[int]) -> tuple[Emission, ...]:
        """Take the step's sampled tokens, ``token_ids[i]`` for ``work.wanted[i]``.

        A token of a sequence that ended meanwhile is ignored. A beam's entry is ignored too: its search sets the next
        token through ``extend`` and ``fork``.
        """
        assert work is self._in_flight, "only the step in flight can be committed"
        assert len(token_ids) == len(work.wanted), f"{len(token_ids)} tokens for {len(work.wanted)} wanted rows"
        self._in_flight = None
        for share in work.shares:
            sequence = share.sequence
            if sequence.finish_reason is None:
                sequence.cached = 0
                sequence.computed += share.rows
                sequence.ever_computed = max(sequence.ever_computed, sequence.computed)
                self._name_blocks(sequence, share.rows)
        emissions = []
        max_model_len = self.limits.max_model_len
        for sequence, token_id in zip(work.wanted, token_ids, strict=True):
            if sequence.finish_reason is not None or sequence.params.beam_width:
                continue
            output = sequence.output_ids
            output.append(token_id)
            reason = finish_reason(sequence, max_model_len)
            emissions.append(
                Emission(sequence=sequence, index=len(output) - 1, token_id=token_id, finish_reason=reason)
            )
            if reason is not None:
                self.finish(sequence, reason)
        return tuple(emissions)

    def extend(self, beam: Sequence, token_id: int) -> None:
        """Append to a beam the token that its search chose."""
        assert beam.finish_reason is None, f"{beam.key} has ended: {beam.finish_reason}"
        assert beam.params.beam_width, "only a beam is extended from outside"
        beam.output_ids.append(token_id)

    def fork(self, beam: Sequence, token_id: int) -> Sequence:
        """Return a new beam: this one's tokens and one more. Full blocks are shared, the rest is fed again."""
        assert self._in_flight is None, "no fork while a step is in flight"
        assert sum(other.key == beam.key for other in self.live()) < beam.seats, "more beams than the search is wide"
        child = beam.forked(token_id)
        line = self._running if beam in self._running else self._waiting
        full = beam.computed // BLOCK_TOKENS
        child.blocks = beam.blocks[:full]
        child.computed = full * BLOCK_TOKENS
        self.pool.share(child.blocks)
        line.insert(line.index(beam) + 1, child)
        return child

    def waits_at_most(self, sequence: Sequence) -> int:
        """Return K of this module's docstring, in steps."""
        chunk = self.limits.max_rows_per_step - self.limits.max_sequences + 1
        steps = 0
        counted = set()
        for ahead in self.live():
            if ahead is sequence:
                break
            if ahead.key not in counted:
                counted.add(ahead.key)
                prompt = len(ahead.prompt_ids)
                answer = min(ahead.params.max_tokens, self.limits.max_model_len - prompt)
                refeed = BLOCK_TOKENS if ahead.params.beam_width else 1
                steps += ahead.seats * (-(-prompt // chunk) + answer * refeed)
        return steps

    def _secure_blocks(self) -> int:
        """Give every running sequence blocks for all its tokens; return how many were preempted for that."""
        preempted = 0
        at = 0
        while at < len(self._running):
            sequence = self._running[at]
            missing = blocks_for(sequence.length) - len(sequence.blocks)
            while missing > self.pool.free and at < len(self._running):
                preempted += self._preempt_last()
            if at < len(self._running) and missing > 0:
                sequence.blocks += self.pool.allocate(missing)
            at += 1
        assert not preempted or self._running, "the first in line was preempted, though it always fits"
        return preempted

    def _preempt_last(self) -> int:
        """Send the last running unit back to the front of those that wait; return its number of sequences."""
        key = self._running[-1].key
        count = 0
        while self._running and self._running[-1].key == key:
            sequence = self._running.pop()
            self._release(sequence)
            self._waiting.appendleft(sequence)
            count += 1
        return count

    def _admit(self, draft: Draft) -> None:
        """Admit waiting sequences in line order while rows, seats and blocks last."""
        seats = {sequence.key: sequence.seats for sequence in self._running}
        while self._waiting and draft.left:
            sequence = self._waiting[0]
            seats[sequence.key] = sequence.seats
            if sum(seats.values()) > self.limits.max_sequences:
                return
            sibling = self._sibling(sequence)
            if sibling is not None and sibling.computed < _shareable(sequence) * BLOCK_TOKENS:
                return  # in a step or so the sibling's blocks will hold its prompt
            known = names(sequence, (sequence.length - 1) // BLOCK_TOKENS)  # the last token must be fed
            shared = list(self.pool.named.find(known))
            idle = self.pool.idle_among(shared)
            if not self._has_room(sequence, blocks_for(sequence.length) - len(shared) + idle):
                return
            self._start(sequence, shared)
            draft.add(sequence, sequence.pending)

    def _sibling(self, sequence: Sequence) -> Sequence | None:
        """Return a running choice of the same placement, which has the same prompt; None if there is none."""
        last = self._running[-1] if self._running else None
        if last is None or last.stream_token != sequence.stream_token or last.key == sequence.key:
            return None
        return last

    def _has_room(self, sequence: Sequence, needed: int) -> bool:
        """Return whether it may take ``needed`` blocks and leave one per running sequence, which may grow.

        The first unit in line leaves none: its members always fit together.
        """
        first = not self._running or self._running[0].key == sequence.key
        return self.pool.free >= needed + (0 if first else len(self._running))

    def _start(self, sequence: Sequence, shared: list[int]) -> None:
        self._waiting.popleft()
        self.pool.share(shared)
        sequence.blocks = shared + self.pool.allocate(blocks_for(sequence.length) - len(shared))
        sequence.computed = len(shared) * BLOCK_TOKENS
        sequence.cached = min(sequence.computed, len(sequence.prompt_ids))
        self._running.append(sequence)

    def _name_blocks(self, sequence: Sequence, rows: int) -> None:
        """Name the blocks that its last ``rows`` rows filled, so that others find them."""
        full = sequence.computed // BLOCK_TOKENS
        begun = (sequence.computed - rows) // BLOCK_TOKENS
        if full > begun:
            known = names(sequence, full)
            for number in range(begun, full):
                self.pool.named.give(sequence.blocks[number], known[number])

    def _release(self, sequence: Sequence) -> None:
        self.pool.release(sequence.blocks)
        sequence.blocks = []
        sequence.computed = sequence.cached = 0


def _shareable(sequence: Sequence) -> int:
    """Count the full blocks of the prompt before the token whose logits start or continue the answer."""
    return min(len(sequence.prompt_ids), sequence.length - 1) // BLOCK_TOKENS
