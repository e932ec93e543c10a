"""Keeps the cache budget: which of the cache's blocks are free, and how many sequences hold each of the others.

It stands between the scheduler and the backend: block numbers are given out here, the memory behind them is the
backend's. It knows nothing of sequences or tokens. A block with more than one holder is read-only: a sequence that
writes must hold its block alone (``holders(block) == 1``). A named block without a holder is idle: it keeps its
content until its place is needed; the one that was idle longest goes first.
"""

from collections.abc import Iterable
from collections.abc import Sequence as Ordered

from calmops.decoding.prefix import NamedBlocks
from calmops.messages.plan import BLOCK_TOKENS


class BlockPool:
    """Counts the holders of ``total`` blocks of ``messages.plan.BLOCK_TOKENS`` tokens each."""

    __slots__ = ("_free", "_holders", "_idle", "named", "total")

    def __init__(self, total: int) -> None:
        assert total > 0, f"a cache of {total} blocks holds nothing"
        self.total = total
        self._free = list(range(total - 1, -1, -1))  # a stack: the lowest numbers are given out first
        self._holders = [0] * total
        self._idle: dict[int, None] = {}  # in the order in which they became idle
        self.named = NamedBlocks()

    @property
    def free(self) -> int:
        """Return how many blocks have no holder, idle ones included."""
        return len(self._free) + len(self._idle)

    @property
    def used(self) -> int:
        """Return how many blocks have a holder; a shared block counts once."""
        return self.total - self.free

    def holders(self, block: int) -> int:
        """Return how many sequences hold this block."""
        return self._holders[block]

    def allocate(self, count: int) -> list[int]:
        """Give out ``count`` free blocks, each with one holder; the caller has checked ``free``."""
        assert 0 <= count <= self.free, f"{count} blocks are asked for, {self.free} are free"
        blocks = [self._free.pop() if self._free else self._forget_longest_idle() for _ in range(count)]
        for block in blocks:
            self._holders[block] = 1
        return blocks

    def share(self, blocks: Iterable[int]) -> None:
        """Count one more holder of each block, held or idle; from now on they are read-only."""
        for block in blocks:
            assert self._holders[block] > 0 or block in self._idle, f"block {block} is free and can't be shared"
            self._idle.pop(block, None)
            self._holders[block] += 1

    def idle_among(self, blocks: Iterable[int]) -> int:
        """Count the idle blocks among these: sharing them takes that many from ``free``."""
        return sum(block in self._idle for block in blocks)

    def release(self, blocks: Ordered[int]) -> None:
        """Count one holder less of each block; without a holder a named block becomes idle, any other one free.

        ``blocks`` are in their sequence's order, and released from its end: fewer sequences share its end than its
        beginning, so the end should be forgotten first.
        """
        for block in reversed(blocks):
            assert self._holders[block] > 0, f"block {block} is freed twice"
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            if block in self.named:
                self._idle[block] = None
            else:
                self._free.append(block)

    def _forget_longest_idle(self) -> int:
        block = next(iter(self._idle))
        del self._idle[block]
        self.named.take(block)
        return block


def blocks_for(tokens: int) -> int:
    """Return how many blocks hold ``tokens`` tokens."""
    return -(-tokens // BLOCK_TOKENS)
