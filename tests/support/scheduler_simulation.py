"""Runs the scheduler with a seed against a fake engine that checks every step it is given.

The engine's cache has one cell per (block, place), with the digest of the tokens up to there. A row may run only where
every earlier cell of its block table holds the digest of its own sequence's prefix. So a wrong block table, a stale
block, a shared block that is written twice or a skipped token shows at once.
"""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from calmops.decoding.beam import BeamSearch
from calmops.decoding.blocks import blocks_for
from calmops.decoding.scheduler import Limits, Scheduler, Work
from calmops.decoding.sequence import Sequence
from calmops.foundation.errors import InputError
from calmops.messages.plan import BLOCK_TOKENS
from tests.support.placements import Resumed, sequences

VOCABULARY = 50
STOP_ID = 0
MODULUS = (1 << 61) - 1


def digests(ids: Iterable[int], salt: bytes = b"") -> list[int]:
    """Return the rolling digest after each token."""
    trail, digest = [], 17 + int.from_bytes(salt, "big")
    for token_id in ids:
        digest = (digest * 1_000_003 + token_id + 1) % MODULUS
        trail.append(digest)
    return trail


@dataclass
class Figures:
    """Counts what happened in a run, or in many."""

    runs: int = 0
    steps: int = 0
    submitted: int = 0
    refused: int = 0
    preempted: int = 0
    cancelled: int = 0
    tokens: int = 0
    cached: int = 0
    searches: int = 0
    full_steps: int = 0  # steps in which every block of the cache is held
    waits: int = 0
    nearest: float = 0.0  # the largest (steps waited / (K + 1))

    def add(self, other: "Figures") -> None:
        for name in self.__dataclass_fields__:
            join = max if name == "nearest" else lambda a, b: a + b
            setattr(self, name, join(getattr(self, name), getattr(other, name)))


@dataclass
class Simulation:
    """Holds the state of one run; ``run`` plays it to its end and asserts at every step."""

    seed: int
    figures: Figures = field(default_factory=lambda: Figures(runs=1))

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        seats = self.random.randint(1, 8)
        self.limits = Limits(
            kv_blocks=self.random.choice((2, 4, 8, 16, 40)),
            max_sequences=seats,
            max_rows_per_step=seats + self.random.choice((0, 1, 4, 24)),
            max_model_len=self.random.choice((20, 64, 150)),
            max_waiting=1024,
            prefix_cache=self.random.random() < 0.8,
        )
        self.scheduler = Scheduler(self.limits)
        self.cells: dict[tuple[int, int], int] = {}
        self.next_index: dict[Sequence, int] = {}
        self.ends: Counter[Sequence] = Counter()
        self.waiting: dict[Sequence, tuple[int, int]] = {}  # K when it began to wait, steps so far
        self.searches: dict[tuple[int, int], BeamSearch] = {}

    def run(self) -> Figures:
        arrivals = self.random.randint(1, 24)
        while arrivals or self.scheduler.running or self.scheduler.waiting:
            while arrivals and self.random.random() < 0.4:
                arrivals -= 1
                self.arrive(arrivals)
            self.disturb(0.04)
            self.step()
        assert self.scheduler.plan() is None
        assert self.scheduler.kv_blocks_used == 0, "blocks leaked"
        assert all(count == 1 for count in self.ends.values()), "a sequence ended more than once"
        assert set(self.next_index) <= set(self.ends), "a sequence never ended"
        return self.figures

    def arrive(self, number: int) -> None:
        roll = self.random
        max_tokens = roll.randint(1, 60)
        params: dict[str, Any] = {"max_tokens": max_tokens, "stop_ids": (STOP_ID,)}
        if roll.random() < 0.15:
            params["beam_width"] = roll.randint(1, 4)
        else:
            params["n"] = roll.choice((1, 1, 1, 3))
        resumed: Resumed = ()
        if roll.random() < 0.2 and max_tokens > 1:
            resumed = ((0, tuple(roll.randrange(1, VOCABULARY) for _ in range(roll.randint(1, max_tokens - 1)))),)
        prompt = roll.choice((1, 3, 16, 17, 40, 90))
        salt = roll.choice(("", "", "another tenant"))
        new = sequences(f"r{number}", prompt, attempt=roll.randint(1, 3), resumed=resumed, salt=salt, **params)
        self.figures.submitted += len(new)
        try:
            self.scheduler.submit(new)
        except InputError:
            assert any(self.never_fits(sequence) for sequence in new), "a sequence was refused that could have run"
            self.figures.refused += len(new)
            return
        assert not any(self.never_fits(sequence) for sequence in new)
        for sequence in new:
            self.next_index[sequence] = sequence.resumed
            self.waiting[sequence] = (self.scheduler.waits_at_most(sequence), 0)
            if sequence.params.beam_width:
                self.searches[sequence.key] = BeamSearch(sequence, self.limits.max_model_len)

    def never_fits(self, sequence: Sequence) -> bool:
        longest = min(len(sequence.prompt_ids) + sequence.params.max_tokens, self.limits.max_model_len) - 1
        return (
            sequence.length >= self.limits.max_model_len
            or sequence.seats > self.limits.max_sequences
            or sequence.seats * blocks_for(longest) > self.limits.kv_blocks
        )

    def disturb(self, chance: float) -> None:
        """End a sequence at any moment, in flight too, as a leaving client, a deadline or a stop string does."""
        live = list(self.scheduler.live())
        if not live or self.random.random() > chance:
            return
        victim = self.random.choice(live)
        if victim.params.beam_width or self.random.random() < 0.5:
            ended = self.scheduler.cancel(victim.stream_token)
            assert victim in ended
            assert not self.scheduler.cancel(victim.stream_token), "a placement was cancelled twice"
        else:
            ended = [victim]
            assert self.scheduler.finish(victim, "stop")
        assert not self.scheduler.finish(victim, "timeout"), "a sequence was ended twice"
        self.figures.cancelled += len(ended)
        for sequence in ended:
            assert not sequence.blocks
            self.searches.pop(sequence.key, None)
            self.end(sequence)

    def end(self, sequence: Sequence) -> None:
        self.ends[sequence] += 1
        self.waiting.pop(sequence, None)

    def step(self) -> None:
        held = {sequence for sequence in self.scheduler.live() if sequence.blocks}
        work = self.scheduler.plan()
        if work is None:
            assert not self.scheduler.running and not self.scheduler.waiting, (
                "sequences are live, but there is nothing to do"
            )
            return
        self.figures.steps += 1
        self.figures.preempted += work.preempted
        self.figures.full_steps += self.scheduler.kv_blocks_used == self.limits.kv_blocks
        self.check_plan(work)
        self.check_waits(work, held)
        self.check_blocks()
        self.disturb(0.04)
        self.commit(work)

    def check_plan(self, work: Work) -> None:
        plan = work.plan
        assert 0 < len(plan.tokens) <= self.limits.max_rows_per_step
        assert len(plan.tokens) == work.decode_rows + work.prefill_rows == sum(share.rows for share in work.shares)
        assert self.scheduler.running <= self.limits.max_sequences
        assert list(plan.wanted_rows) == sorted(set(plan.wanted_rows))
        wanted = [work.shares[plan.rows_to_sequence[row]].sequence for row in plan.wanted_rows]
        assert wanted == list(work.wanted)
        written: set[int] = set()
        row = 0
        for number, share in enumerate(work.shares):
            sequence = share.sequence
            table = plan.block_tables[number]
            assert len(table) == len(set(table))
            start, end = sequence.computed, sequence.computed + share.rows
            ids = sequence.ids(0, end)
            trail = digests(ids, sequence.salt)
            for position in range(start):
                cell = self.cells[table[position // BLOCK_TOKENS], position % BLOCK_TOKENS]
                assert cell == trail[position], f"{sequence.key} reads another sequence's cell at {position}"
            own = {table[position // BLOCK_TOKENS] for position in range(start, end)}
            assert not own & written, "two writers of one block"
            written |= own
            assert all(self.scheduler.pool.holders(block) == 1 for block in own), "a shared block is written"
            assert not any(block in self.scheduler.pool.named for block in own), (
                "a block that others may find is written"
            )
            for position in range(start, end):
                assert plan.tokens[row] == ids[position]
                assert plan.positions[row] == position
                assert plan.rows_to_sequence[row] == number
                self.cells[table[position // BLOCK_TOKENS], position % BLOCK_TOKENS] = trail[position]
                row += 1
            assert 0 <= share.recomputed <= share.prefilled
            self.figures.cached += share.cached

    def check_waits(self, work: Work, held: set[Sequence]) -> None:
        served = {share.sequence for share in work.shares}
        decoding = [sequence for sequence in self.scheduler.live() if sequence.blocks and sequence.pending == 1]
        assert served >= set(decoding), "a decoder got no row"
        for sequence in held:
            if not sequence.blocks and sequence not in self.waiting:  # preempted by this plan
                self.waiting[sequence] = (self.scheduler.waits_at_most(sequence), 0)
        for sequence, (bound, before) in list(self.waiting.items()):
            steps = before + 1
            assert steps <= bound + 1, f"{sequence.key} waited {steps} steps, K is {bound}"
            self.waiting[sequence] = (bound, steps)
            if sequence in served:
                del self.waiting[sequence]
                self.figures.waits += 1
                self.figures.nearest = max(self.figures.nearest, steps / (bound + 1))

    def check_blocks(self) -> None:
        holders = Counter(block for sequence in self.scheduler.live() for block in sequence.blocks)
        pool = self.scheduler.pool
        assert len(holders) == pool.used <= self.limits.kv_blocks
        assert all(pool.holders(block) == count for block, count in holders.items())

    def commit(self, work: Work) -> None:
        cancelled = {sequence for sequence in work.wanted if sequence.finish_reason}
        token_ids = [self.sample(sequence) for sequence in work.wanted]
        emissions = self.scheduler.commit(work, token_ids)
        emitted = {emission.sequence for emission in emissions}
        assert not emitted & cancelled
        live = [sequence for sequence in work.wanted if sequence not in cancelled]
        assert emitted == {sequence for sequence in live if not sequence.params.beam_width}
        for emission in emissions:
            sequence = emission.sequence
            assert emission.index == self.next_index[sequence] == len(sequence.output_ids) - 1, "an index was skipped"
            self.next_index[sequence] += 1
            self.figures.tokens += 1
            assert emission.finish_reason == sequence.finish_reason
            if emission.finish_reason:
                self.end(sequence)
        self.search([sequence for sequence in live if sequence.params.beam_width])
        self.check_blocks()

    def sample(self, sequence: Sequence) -> int:
        return digests(sequence.ids(0, sequence.length))[-1] % VOCABULARY

    def search(self, beams: list[Sequence]) -> None:
        for beam in beams:
            search = self.searches[beam.key]
            first = self.sample(beam)
            search.report(beam, [((first + k) % VOCABULARY, -0.1 * (k + 1)) for k in range(search.top_k)])
        for key in dict.fromkeys(beam.key for beam in beams):
            search = self.searches[key]
            if not search.ready:
                continue
            before = [beam for beam in self.scheduler.live() if beam.key == key]
            search.advance(self.scheduler)
            for beam in before:
                if beam.finish_reason:
                    self.end(beam)
            for beam in self.scheduler.live():
                if beam.key == key and beam not in before:
                    self.next_index[beam] = 0
                    if not beam.blocks:
                        self.waiting[beam] = (self.scheduler.waits_at_most(beam), 0)
            if search.done:
                self.figures.searches += 1
                assert search.ranked()
                assert all(len(answer.token_ids) <= search.max_tokens for answer in search.ranked())
                del self.searches[key]
