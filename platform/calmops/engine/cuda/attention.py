"""Computes paged attention in Triton: each row reads its sequence's keys and values in place, through block tables.

Prefill and decode rows run through one kernel, and what a row attends to comes from device memory alone, so a captured
step stays right for any plan that it is replayed for. Contexts are cut into ``splits`` shares that are computed side by
side and merged in order. The number of splits is the same for a whole step, so within one step a row's sums don't
depend on other rows. Knows no model. With TRITON_INTERPRET=1 the same code runs on a CPU, slowly.
"""

import torch
import triton
import triton.language as tl

from calmops.messages.plan import BLOCK_TOKENS

_TILE_KEYS = 64
_WARPS = 4
_SHARED_BYTES = 96 << 10  # of a block, on workstations' GPUs; data centres' GPUs have twice that
MOST_SPLITS = 32
_LEAST_ROWS = 16  # of a product on tensor cores


def store(
    kv: tuple[torch.Tensor, torch.Tensor], memory: tuple[torch.Tensor, torch.Tensor], row_slots: "RowSlots"
) -> None:
    """Write the rows' keys and values [T, Hkv, D] into a layer's memory [slots, Hkv, D], each at its row's slot."""
    (k, v), (keys, values) = kv, memory
    rows, heads = k.shape[:2]
    _store[(rows, heads)](
        k, v, keys, values, row_slots.blocks, row_slots.offsets, row_slots.positions,
        k.stride(0), k.stride(1), v.stride(0), v.stride(1), keys.stride(0), values.stride(0),
        K_SIZE=k.shape[2], V_SIZE=v.shape[2], K_PADDED=_power(k.shape[2]), V_PADDED=_power(v.shape[2]),
        BLOCK=BLOCK_TOKENS, num_warps=1,
    )  # fmt: skip


def attend(
    q: torch.Tensor, memory: tuple[torch.Tensor, torch.Tensor], row_slots: "RowSlots", options: "AttentionOptions"
) -> torch.Tensor:
    """Attend with q [T, H, D] over a layer's memory, to [T, H, Dv]: a row sees its sequence up to its own position."""
    keys, values = memory
    rows, heads, size = q.shape
    kv_heads, value_size = values.shape[1:]
    out = torch.empty((rows, heads, value_size), dtype=q.dtype, device=q.device)
    splits = options.splits
    assert 1 <= splits <= MOST_SPLITS, f"{splits} splits"
    mixed = torch.empty((rows, heads, splits, value_size), dtype=torch.float32, device=q.device) if splits > 1 else out
    weight = torch.empty((rows, heads, splits), dtype=torch.float32, device=q.device) if splits > 1 else out
    group = heads // kv_heads
    _attend[(rows, kv_heads, splits)](
        q, keys, values, row_slots.blocks, row_slots.offsets, row_slots.positions, mixed, weight,
        options.scaling, options.softcap, options.window,
        q.stride(0), q.stride(1), keys.stride(0), keys.stride(1), values.stride(0), values.stride(1),
        heads, splits,
        GROUP=group, GROUP_PADDED=max(_LEAST_ROWS, _power(group)), K_SIZE=size, K_PADDED=_power(size),
        V_SIZE=value_size, V_PADDED=_power(value_size), TILE=_TILE_KEYS, BLOCK=BLOCK_TOKENS, SPLIT=splits > 1,
        CAPPED=options.softcap > 0, num_warps=_WARPS, num_stages=_stages(size, value_size, keys.element_size()),
    )  # fmt: skip
    if splits > 1:
        _merge[(rows, heads)](
            mixed, weight, out, splits, V_SIZE=value_size, V_PADDED=_power(value_size), MOST=MOST_SPLITS, num_warps=1,
        )  # fmt: skip
    return out


class RowSlots:
    """Says where a step's rows belong in the cache, on the device.

    ``positions`` [T] int64; ``blocks`` int32, the block tables of all sequences one after another; ``offsets`` [T]
    int64, where in ``blocks`` the row's own sequence begins.
    """

    __slots__ = ("blocks", "offsets", "positions")

    def __init__(self, positions: torch.Tensor, offsets: torch.Tensor, blocks: torch.Tensor) -> None:
        self.positions, self.offsets, self.blocks = positions, offsets, blocks


class AttentionOptions:
    """Says how a layer attends. ``softcap`` and ``window`` are 0 for none; ``splits`` is the step's."""

    __slots__ = ("scaling", "softcap", "splits", "window")

    def __init__(self, scaling: float, softcap: float, window: int, splits: int) -> None:
        self.scaling, self.softcap, self.window, self.splits = scaling, softcap, window, splits


def _stages(size: int, value_size: int, element_bytes: int) -> int:
    """Return how many tiles of keys and values to load at once: as many as a smaller GPU's shared memory holds."""
    tile_bytes = _TILE_KEYS * (_power(size) + _power(value_size)) * element_bytes
    return max(1, min(3, _SHARED_BYTES // tile_bytes))


def _power(size: int) -> int:
    return 1 << (size - 1).bit_length()


@triton.jit
def _store(  # type: ignore[no-untyped-def]  # Triton types its own arguments
    k_ptr, v_ptr, keys_ptr, values_ptr, blocks_ptr, offsets_ptr, positions_ptr,
    k_row, k_head, v_row, v_head, keys_slot, values_slot,
    K_SIZE: tl.constexpr, V_SIZE: tl.constexpr, K_PADDED: tl.constexpr, V_PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0), tl.program_id(1)
    position = tl.load(positions_ptr + row)
    block = tl.load(blocks_ptr + tl.load(offsets_ptr + row) + position // BLOCK).to(tl.int64)
    slot = block * BLOCK + position % BLOCK
    at = tl.arange(0, K_PADDED)
    k = tl.load(k_ptr + row * k_row + head * k_head + at, mask=at < K_SIZE)
    tl.store(keys_ptr + slot * keys_slot + head * K_SIZE + at, k, mask=at < K_SIZE)
    at = tl.arange(0, V_PADDED)
    v = tl.load(v_ptr + row * v_row + head * v_head + at, mask=at < V_SIZE)
    tl.store(values_ptr + slot * values_slot + head * V_SIZE + at, v, mask=at < V_SIZE)


@triton.jit(do_not_specialize=["window", "heads", "splits"])
def _attend(  # type: ignore[no-untyped-def]  # Triton types its own arguments
    q_ptr, keys_ptr, values_ptr, blocks_ptr, offsets_ptr, positions_ptr, mixed_ptr, weight_ptr,
    scaling, softcap, window, q_row, q_head, keys_slot, keys_head, values_slot, values_head, heads, splits,
    GROUP: tl.constexpr, GROUP_PADDED: tl.constexpr, K_SIZE: tl.constexpr, K_PADDED: tl.constexpr, TILE: tl.constexpr,
    V_SIZE: tl.constexpr, V_PADDED: tl.constexpr, BLOCK: tl.constexpr, SPLIT: tl.constexpr, CAPPED: tl.constexpr,
):  # fmt: skip
    row, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    blocks_ptr += tl.load(offsets_ptr + row)
    end = tl.load(positions_ptr + row) + 1
    begin = tl.where(window > 0, tl.maximum(end - window, 0), 0)
    first = begin // TILE  # shares are whole tiles, counted from the first one that is seen
    tiles = tl.cdiv(end, TILE) - first
    share = tl.cdiv(tiles, splits)
    from_tile, to_tile = first + split * share, first + tl.minimum((split + 1) * share, tiles)
    query = tl.arange(0, GROUP_PADDED)
    head = kv_head * GROUP + query
    at_k, at_v = tl.arange(0, K_PADDED), tl.arange(0, V_PADDED)
    q_at = q_ptr + row * q_row + head[:, None] * q_head + at_k[None, :]
    q = tl.load(q_at, mask=(query[:, None] < GROUP) & (at_k[None, :] < K_SIZE), other=0.0)
    best, total = tl.full([GROUP_PADDED], -float("inf"), tl.float32), tl.zeros([GROUP_PADDED], tl.float32)
    mixed = tl.zeros([GROUP_PADDED, V_PADDED], tl.float32)
    for tile in range(from_tile, to_tile):
        key = tile * TILE + tl.arange(0, TILE)
        seen = (key >= begin) & (key < end)
        slot = tl.load(blocks_ptr + key // BLOCK, mask=seen, other=0).to(tl.int64) * BLOCK + key % BLOCK
        k_at = keys_ptr + slot[None, :] * keys_slot + kv_head * keys_head + at_k[:, None]
        k = tl.load(k_at, mask=seen[None, :] & (at_k[:, None] < K_SIZE), other=0.0)  # [K_PADDED, TILE]
        v_at = values_ptr + slot[:, None] * values_slot + kv_head * values_head + at_v[None, :]
        v = tl.load(v_at, mask=seen[:, None] & (at_v[None, :] < V_SIZE), other=0.0)  # [TILE, V_PADDED]
        scores = tl.dot(q, k, input_precision="ieee") * scaling
        if CAPPED:
            scores = _cap(scores, softcap)
        scores = tl.where(seen[None, :], scores, -float("inf"))
        highest = tl.maximum(best, tl.max(scores, 1))
        weights = tl.exp(scores - highest[:, None])
        kept = tl.exp(best - highest)
        total = total * kept + tl.sum(weights, 1)
        mixed = mixed * kept[:, None] + tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        best = highest
    place = row * heads + head
    inside = (query[:, None] < GROUP) & (at_v[None, :] < V_SIZE)
    if not SPLIT:
        tl.store(mixed_ptr + place[:, None] * V_SIZE + at_v[None, :], mixed / total[:, None], mask=inside)
    else:
        # A share without a key weighs nothing: its mix is zeros over a sum that is taken as 1.
        whole = tl.where(total > 0, total, 1.0)
        place = place * splits + split
        tl.store(mixed_ptr + place[:, None] * V_SIZE + at_v[None, :], mixed / whole[:, None], mask=inside)
        tl.store(weight_ptr + place, best + tl.log(whole), mask=query < GROUP)


@triton.jit
def _cap(scores, softcap):  # type: ignore[no-untyped-def]  # Triton types its own arguments
    """Cap scores at ``softcap`` by a hyperbolic tangent, which Triton's language lacks."""
    return softcap * (2.0 / (1.0 + tl.exp(-2.0 * scores / softcap)) - 1.0)


@triton.jit(do_not_specialize=["splits"])
def _merge(  # type: ignore[no-untyped-def]  # Triton types its own arguments
    mixed_ptr, weight_ptr, out_ptr, splits, V_SIZE: tl.constexpr, V_PADDED: tl.constexpr, MOST: tl.constexpr
):  # fmt: skip
    place = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    split, at = tl.arange(0, MOST), tl.arange(0, V_PADDED)
    weight = tl.load(weight_ptr + place * splits + split, mask=split < splits, other=-float("inf"))
    share = tl.exp(weight - tl.max(weight, 0))
    share = share / tl.sum(share, 0)
    inside = (split[:, None] < splits) & (at[None, :] < V_SIZE)
    mixed = tl.load(mixed_ptr + (place * splits + split[:, None]) * V_SIZE + at[None, :], mask=inside, other=0.0)
    tl.store(out_ptr + place * V_SIZE + at, tl.sum(mixed * share[:, None], 0), mask=at < V_SIZE)
