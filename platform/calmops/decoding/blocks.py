"""Block numbers of the cache, counted by reference: the hard budget. The backend owns the memory behind them."""

from calmops.messages.plan import BLOCK_TOKENS


class BlockPool:
    """``total`` blocks of 16 tokens. A shared block is read-only."""

    def __init__(self, total: int) -> None:
        assert total >= 1, f"a pool of {total} blocks"
        self.total = total
        self._free = list(range(total - 1, -1, -1))
        self._references = [0] * total

    @property
    def free(self) -> int:
        """Blocks that nobody holds."""
        return len(self._free)

    @property
    def used(self) -> int:
        """Blocks that somebody holds."""
        return self.total - len(self._free)

    def allocate(self, count: int) -> list[int]:
        """``count`` blocks, one reference each; the caller has seen that they are free."""
        assert count <= len(self._free), f"{count} blocks wanted, {len(self._free)} free"
        blocks = [self._free.pop() for _ in range(count)]
        for block in blocks:
            self._references[block] = 1
        return blocks

    def share(self, blocks: list[int]) -> None:
        """One more reference to each."""
        for block in blocks:
            assert self._references[block] > 0, f"block {block} is free and can't be shared"
            self._references[block] += 1

    def release(self, blocks: list[int]) -> None:
        """One reference less to each; without any left a block is free."""
        for block in blocks:
            assert self._references[block] > 0, f"block {block} is freed twice"
            self._references[block] -= 1
            if self._references[block] == 0:
                self._free.append(block)


def blocks_for(tokens: int) -> int:
    """Blocks that hold ``tokens`` tokens."""
    return -(-tokens // BLOCK_TOKENS)
