"""Names for full cache blocks: a digest of a tenant's salt and of every token up to the block's end.

Two blocks of one name hold the same keys and values, so a sequence may begin with blocks that another one filled. A salt
of its own keeps a tenant from probing by timing what others have asked.
"""

from collections.abc import Iterator
from hashlib import blake2b

import msgspec

from calmops.decoding.sequence import Sequence
from calmops.messages.plan import BLOCK_TOKENS

_encode = msgspec.msgpack.Encoder().encode


def names(sequence: Sequence, blocks: int) -> list[bytes]:
    """The names of its first ``blocks`` blocks, all of which it must have the tokens for. Kept in the sequence."""
    known = sequence.block_names
    for number in range(len(known), blocks):
        before = known[-1] if known else sequence.salt
        ids = sequence.ids(number * BLOCK_TOKENS, (number + 1) * BLOCK_TOKENS)
        known.append(blake2b(_encode((before, ids)), digest_size=16).digest())
    return known[:blocks]


class NamedBlocks:
    """Which block bears which name; a name is borne by one block."""

    __slots__ = ("_blocks", "_names")

    def __init__(self) -> None:
        self._blocks: dict[bytes, int] = {}
        self._names: dict[int, bytes] = {}

    def __contains__(self, block: int) -> bool:
        return block in self._names

    def give(self, block: int, name: bytes) -> None:
        """Name a full block, unless it has one or another block bears this one."""
        if block not in self._names and name not in self._blocks:
            self._blocks[name] = block
            self._names[block] = name

    def take(self, block: int) -> None:
        """The block's content goes: nobody must find it any more."""
        del self._blocks[self._names.pop(block)]

    def find(self, wanted: list[bytes]) -> Iterator[int]:
        """The blocks that bear these names, up to the first that nobody bears."""
        for name in wanted:
            block = self._blocks.get(name)
            if block is None:
                return
            yield block
