"""Holds a step's inputs in device memory at fixed addresses, so that a captured step can be replayed for any plan.

Knows no model and no cache.
"""

from itertools import accumulate, chain

import torch

from calmops.engine.cuda.attention import RowSlots
from calmops.messages.plan import StepPlan


class StepInputs:
    """Holds one step: filled from a plan, read by the model through views of fixed addresses.

    Rows beyond the plan's are padding: position 0 of a sequence of one block, the cache's scratch block.
    """

    def __init__(self, device: torch.device, *, rows: int, wanted: int, blocks: int, scratch_block: int) -> None:
        """Make room for ``rows`` rows, ``wanted`` of them with logits, and ``blocks`` in all tables together."""
        self._rows, self._wanted = rows, wanted
        pinned = device.type == "cuda"
        self._host = torch.zeros(3 * rows + wanted, dtype=torch.int64, pin_memory=pinned)
        self._host_blocks = torch.full((1 + blocks,), scratch_block, dtype=torch.int32, pin_memory=pinned)
        self._device = self._host.to(device)
        self._device_blocks = self._host_blocks.to(device)
        self._copied = torch.cuda.Event() if pinned else None  # from then on the host's side may be written again

    def put(self, plan: StepPlan) -> None:
        """Take the plan over, in the order of the device's stream: a step that still runs keeps its own plan."""
        rows, wanted = len(plan.tokens), len(plan.wanted_rows)
        assert rows <= self._rows and wanted <= self._wanted, (
            f"{rows} rows, {wanted} wanted: room for {self._rows}, {self._wanted}"
        )
        if self._copied is not None:
            self._copied.synchronize()
        blocks = [0, *accumulate(map(len, plan.block_tables))]
        host = self._host.numpy()
        host[:] = 0
        host[:rows] = plan.tokens
        host[self._rows : self._rows + rows] = plan.positions
        offsets = [1 + blocks[sequence] for sequence in plan.rows_to_sequence]
        host[2 * self._rows : 2 * self._rows + rows] = offsets
        host[3 * self._rows : 3 * self._rows + wanted] = plan.wanted_rows
        end = 1 + blocks[-1]
        self._host_blocks.numpy()[1:end] = tuple(chain.from_iterable(plan.block_tables))
        self._device.copy_(self._host, non_blocking=True)
        self._device_blocks[:end].copy_(self._host_blocks[:end], non_blocking=True)
        if self._copied is not None:
            self._copied.record()

    def clear(self) -> None:
        """Fill everything with padding, which is valid for any number of rows."""
        self._host.zero_()
        self._device.zero_()

    def tokens(self, rows: int) -> torch.Tensor:
        """Return the rows' token ids, [rows] int64."""
        return self._device[:rows]

    def positions(self, rows: int) -> torch.Tensor:
        """Return the rows' positions, [rows] int64."""
        return self._device[self._rows : self._rows + rows]

    def wanted(self, count: int) -> torch.Tensor:
        """Return which rows have logits, [count] int64."""
        return self._device[3 * self._rows : 3 * self._rows + count]

    def row_slots(self, rows: int) -> RowSlots:
        """Return where these rows' keys and values are."""
        offsets = self._device[2 * self._rows : 2 * self._rows + rows]
        return RowSlots(self.positions(rows), offsets, self._device_blocks)


def capture_sizes(most_rows: int, *, exact: bool, largest: int) -> tuple[int, ...]:
    """Return the numbers of rows for which a step is captured, ascending.

    ``exact``: one for all steps, so that every product always has the same shape. Else powers of two up to ``largest``.
    """
    if exact:
        return (most_rows,)
    powers = [1 << power for power in range(largest.bit_length()) if 1 << power < min(most_rows, largest)]
    return (*powers, min(most_rows, largest))
