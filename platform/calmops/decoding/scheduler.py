"""The scheduler: which token rows run in the next step. Pure: no torch, no clock, no I/O.

One line. Sequences are in order of their submission, always: those that run are its front part,
those that wait its rest. The front waiting one is admitted first; when the cache is full the last
running one is preempted, which puts it back at the front of those that wait (to be recomputed).
In a step, rows go first to every sequence with one token to feed (the decoders), then to longer
ones in line order, in chunks of what is left, then to admissions. So no prompt stalls a decoder.

How long a sequence waits. Let R = max_rows_per_step, S = max_sequences, c = R - S + 1 >= 1. The
line's first sequence is never preempted and gets, in each step, a row if it decodes, else at least
c rows or all it needs. So it ends within ceil(P/c) + M steps of becoming first, preempted before
or not (P prompt tokens; M max_tokens, never more than the context leaves), and a waiting sequence
gets its next rows after at most

    K = sum over the unfinished sequences a ahead of it, of  w(a) * (ceil(P(a) / c) + M(a) * e(a))

further steps, that is in step K + 1 at the latest. w(a) is a's beam width (1 without a search); e(a) is 1, and
BLOCK_TOKENS for a beam search, whose forks re-feed up to a block each. ``waits_at_most`` computes
K; tests/unit/calmops/decoding and tests/proofs/engine/scheduler-keeps-its-promises hold it.

Beams: the sequences of one search are a unit (they share ``key``), adjacent in line, admitted in
order and preempted together. A unit counts as w seats of S from its first member on.
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
        """Sequences that hold cache blocks."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Sequences that don't, preempted ones included."""
        return len(self._waiting)

    @property
    def kv_blocks_used(self) -> int:
        """Blocks that are held; a shared one counts once."""
        return self.pool.used

    @property
    def kv_blocks_total(self) -> int:
        """The budget, in blocks."""
        return self.pool.total

    def live(self) -> Iterable[Sequence]:
        """Every sequence that hasn't ended, in line order (a copy: it may be finished meanwhile)."""
        return [*self._running, *self._waiting]

    def submit(self, sequences: Ordered[Sequence]) -> None:
        """Put new sequences at the end of the line, all or none.

        Raises InputError for one that could never run, LoadError when too many wait.
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
                f"{len(self._waiting)} sequences wait; {len(sequences)} more would pass the limit of "
                f"{self.limits.max_waiting}"
            )
        self._waiting.extend(sequences)

    def cancel(self, stream_token: int) -> list[Sequence]:
        """End a placement's live sequences, freeing their blocks now.

        Returns those it ended (of a beam search every live beam, all with one key).
        """
        ended = [sequence for sequence in self.live() if sequence.stream_token == stream_token]
        for sequence in ended:
            self.finish(sequence, "cancelled")
        return ended

    def finish(self, sequence: Sequence, reason: str) -> bool:
        """End a sequence and free its blocks. False, and nothing done, if it had ended before."""
        if sequence.finish_reason is not None:
            return False
        sequence.finish_reason = reason
        (self._running if sequence in self._running else self._waiting).remove(sequence)
        self._release(sequence)
        return True

    def plan(self) -> Work | None:
        """The next step, or None when no sequence has a token to feed. ``commit`` it before the next."""
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

        What belongs to a sequence that ended meanwhile is ignored. A beam's entry is ignored too:
        its search tells the next token through ``extend`` and ``fork``.
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
        """A beam goes on with this token (its search decided)."""
        assert beam.finish_reason is None, f"{beam.key} has ended: {beam.finish_reason}"
        assert beam.params.beam_width, "only a beam is extended from outside"
        beam.output_ids.append(token_id)

    def fork(self, beam: Sequence, token_id: int) -> Sequence:
        """A new beam: this one's tokens and one more. Full blocks are shared, the rest is fed again."""
        assert self._in_flight is None, "no fork while a step is in flight"
        assert sum(s.key == beam.key for s in self.live()) < beam.seats, "more beams than the search is wide"
        child = beam.forked(token_id)
        line = self._running if beam in self._running else self._waiting
        full = beam.computed // BLOCK_TOKENS
        child.blocks = beam.blocks[:full]
        child.computed = full * BLOCK_TOKENS
        self.pool.share(child.blocks)
        line.insert(line.index(beam) + 1, child)
        return child

    def waits_at_most(self, sequence: Sequence) -> int:
        """K of this module's docstring, in steps."""
        chunk = self.limits.max_rows_per_step - self.limits.max_sequences + 1
        steps = 0
        told = set()
        for ahead in self.live():
            if ahead is sequence:
                break
            if ahead.key not in told:
                told.add(ahead.key)
                prompt = len(ahead.prompt_ids)
                answer = min(ahead.params.max_tokens, self.limits.max_model_len - prompt)
                refeed = BLOCK_TOKENS if ahead.params.beam_width else 1
                steps += ahead.seats * (-(-prompt // chunk) + answer * refeed)
        return steps

    def _secure_blocks(self) -> int:
        """Give every running sequence room for all its tokens; how many were preempted for that."""
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
        assert not preempted or self._running, "the first in line was preempted: it should have fit"
        return preempted

    def _preempt_last(self) -> int:
        """Send the last running unit back to the front of those that wait; its number of sequences."""
        key = self._running[-1].key
        count = 0
        while self._running and self._running[-1].key == key:
            sequence = self._running.pop()
            self._release(sequence)
            self._waiting.appendleft(sequence)
            count += 1
        return count

    def _admit(self, draft: Draft) -> None:
        """Admit from the front of those that wait while rows, seats and blocks last; never out of order."""
        seats = {sequence.key: sequence.seats for sequence in self._running}
        while self._waiting and draft.left:
            sequence = self._waiting[0]
            seats[sequence.key] = sequence.seats
            if sum(seats.values()) > self.limits.max_sequences:
                return
            sibling = self._sibling(sequence)
            if sibling is not None and sibling.computed < _shareable(sequence) * BLOCK_TOKENS:
                return  # a step or so later its prompt needn't be computed again
            known = names(sequence, (sequence.length - 1) // BLOCK_TOKENS)  # short of the token to be fed
            shared = list(self.pool.named.find(known))
            idle = self.pool.idle_among(shared)
            if not self._has_room(sequence, blocks_for(sequence.length) - len(shared) + idle):
                return
            self._start(sequence, shared)
            draft.add(sequence, sequence.pending)

    def _sibling(self, sequence: Sequence) -> Sequence | None:
        """Another choice of the same placement that runs: the two have one prompt."""
        last = self._running[-1] if self._running else None
        if last is None or last.stream_token != sequence.stream_token or last.key == sequence.key:
            return None
        return last

    def _has_room(self, sequence: Sequence, needed: int) -> bool:
        """Whether it may take ``needed`` blocks, leaving one to grow for each running sequence ahead of its unit.

        The unit that is first in line leaves none: its members always fit together.
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
        """Let others find the blocks that its last ``rows`` rows have filled."""
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
    """Full blocks of the prompt, short of the token whose logits start or continue the answer."""
    return min(len(sequence.prompt_ids), sequence.length - 1) // BLOCK_TOKENS
