"""Holds the keys and values of one rank in blocks of 16 tokens, for the backends that run through torch.

Shapes are taken from the keys and values that a layer really makes, since shards may be uneven. Doesn't know which
sequence has which block: decoding decides that.
"""

import torch

from calmops.messages.plan import BLOCK_TOKENS


class KvCache:
    """Holds keys and values of every layer: [(blocks + 1) x 16 slots, local KV heads, head size].

    The last block is scratch: rows that only pad a step write there, and short block tables point there.
    """

    def __init__(self, blocks: int) -> None:
        """``blocks``: the budget, without the scratch block."""
        self.blocks = blocks
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    @property
    def scratch_block(self) -> int:
        """Return the number of the scratch block."""
        return self.blocks

    @property
    def layers(self) -> int:
        """Return how many layers have stored something so far."""
        return len(self._layers)

    def store(
        self, layer: int, slots: torch.Tensor, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write k and v [T, H, D] at ``slots`` [T] (int64); return the layer's whole memory, keys and values."""
        keys, values = self.memory(layer, k, v)
        keys.index_copy_(0, slots, k)
        values.index_copy_(0, slots, v)
        return keys, values

    def memory(self, layer: int, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a layer's whole memory, keys and values, allocated at its first rows k and v [T, H, D]."""
        if layer not in self._layers:
            self._layers[layer] = (self._memory_like(k), self._memory_like(v))
        return self._layers[layer]

    def bytes(self) -> int:
        """Return how much memory this rank's cache holds."""
        return sum(t.numel() * t.element_size() for pair in self._layers.values() for t in pair)

    def _memory_like(self, rows: torch.Tensor) -> torch.Tensor:
        # Zeros, not empty: masked slots are multiplied by a probability of 0, and 0 x NaN is NaN.
        shape = ((self.blocks + 1) * BLOCK_TOKENS, *rows.shape[1:])
        return torch.zeros(shape, dtype=rows.dtype, device=rows.device)
