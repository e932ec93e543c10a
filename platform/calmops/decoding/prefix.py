"""Names full cache blocks: a digest of the tenant's salt and of every token up to the block's end.

The scheduler uses it to start a sequence with blocks that another one filled: two blocks of one name hold the same
keys and values. A salt of their own keeps a tenant's prompts from others, who could otherwise probe by timing what
was asked. It knows no memory and no request.
"""

from collections.abc import Iterator
from hashlib import blake2b

import msgspec

from calmops.decoding.sequence import Sequence
from calmops.messages.plan import BLOCK_TOKENS

_encode = msgspec.msgpack.Encoder().encode


def names(sequence: Sequence, blocks: int) -> list[bytes]:
    """Return the names of a sequence's first ``blocks`` blocks, which its tokens must fill; the sequence keeps them."""
    known = sequence.block_names
    for number in range(len(known), blocks):
        before = known[-1] if known else sequence.salt
        ids = sequence.ids(number * BLOCK_TOKENS, (number + 1) * BLOCK_TOKENS)
        known.append(blake2b(_encode((before, ids)), digest_size=16).digest())
    return known[:blocks]


class NamedBlocks:
    """Finds blocks by name; a name belongs to one block."""

    __slots__ = ("_blocks", "_names")

    def __init__(self) -> None:
        self._blocks: dict[bytes, int] = {}
        self._names: dict[int, bytes] = {}

    def __contains__(self, block: int) -> bool:
        return block in self._names

    def give(self, block: int, name: bytes) -> None:
        """Name a full block, unless it has a name or another block has this one."""
        if block not in self._names and name not in self._blocks:
            self._blocks[name] = block
            self._names[block] = name

    def take(self, block: int) -> None:
        """Take the name off a block whose content is about to be overwritten, so that nobody finds it."""
        del self._blocks[self._names.pop(block)]

    def find(self, wanted: list[bytes]) -> Iterator[int]:
        """Yield the blocks of these names, up to the first name that no block has."""
        for name in wanted:
            block = self._blocks.get(name)
            if block is None:
                return
            yield block
