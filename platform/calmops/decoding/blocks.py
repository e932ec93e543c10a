"""The cache budget: which of the cache's blocks are free, and who shares the others.

Between the scheduler and the backend: block numbers are given out here, the memory behind them is
the backend's. It knows nothing of sequences or tokens. A block with more than one holder is
read-only; whoever writes must hold its block alone (``holders(block) == 1``).
"""

from collections.abc import Iterable

from calmops.messages.plan import BLOCK_TOKENS


class BlockPool:
    """``total`` blocks of ``messages.plan.BLOCK_TOKENS`` tokens each, counted by holders."""

    __slots__ = ("_free", "_holders", "total")

    def __init__(self, total: int) -> None:
        assert total > 0, f"a cache of {total} blocks holds nothing"
        self.total = total
        self._free = list(range(total - 1, -1, -1))  # a stack: lowest numbers are given out first
        self._holders = [0] * total

    @property
    def free(self) -> int:
        """Blocks that nobody holds."""
        return len(self._free)

    @property
    def used(self) -> int:
        """Blocks with at least one holder; a shared block counts once."""
        return self.total - len(self._free)

    def holders(self, block: int) -> int:
        """How many hold this block."""
        return self._holders[block]

    def allocate(self, count: int) -> list[int]:
        """Give out ``count`` free blocks, each with one holder. The caller has checked ``free``."""
        assert 0 <= count <= len(self._free), f"{count} blocks asked, {len(self._free)} free"
        blocks = [self._free.pop() for _ in range(count)]
        for block in blocks:
            self._holders[block] = 1
        return blocks

    def share(self, blocks: Iterable[int]) -> None:
        """Count one more holder of each block; from now on they are read-only."""
        for block in blocks:
            assert self._holders[block] > 0, f"block {block} is free and can't be shared"
            self._holders[block] += 1

    def release(self, blocks: Iterable[int]) -> None:
        """Count one holder less of each block; the last one's going frees it."""
        for block in blocks:
            assert self._holders[block] > 0, f"block {block} freed twice"
            self._holders[block] -= 1
            if not self._holders[block]:
                self._free.append(block)


def blocks_for(tokens: int) -> int:
    """Blocks that hold ``tokens`` tokens."""
    return -(-tokens // BLOCK_TOKENS)
