"""Computes attention over our own cache; every layer of a transformers model calls it in place of its own.

The query heads that share a KV head are folded into its query rows, so a group is n x KV heads plain matrix products.
Under ``exact``, query rows are padded to a multiple of 8, tiles of 64 keys are taken in order, and the softmax is in
float32, so that a row's bits don't depend on the batch. Knows no model.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from calmops.engine.cache import KvCache
from calmops.engine.step_layout import EXACT_KEYS, Group, StepLayout
from calmops.foundation.errors import UnsupportedModel

_EXACT_QUERY_ROWS = 8
# Tensors that transformers hands to an attention and that play no part in ours.
_IGNORED_TENSORS = ("position_ids", "cache_position", "position_embeddings", "cu_seq_lens_q", "cu_seq_lens_k")


class CachedAttention:
    """Attends for every layer over the cache, by the layout of the current step."""

    def __init__(self, cache: KvCache, *, exact: bool) -> None:
        self._cache = cache
        self._exact = exact
        self._layout: StepLayout | None = None

    def begin(self, layout: StepLayout) -> None:
        """Begin a step: every call until the next ``begin`` belongs to it."""
        self._layout = layout

    def __call__(
        self, module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, _mask: object = None, **options: Any
    ) -> tuple[torch.Tensor, None]:
        """Attend with q [1, H, T, D], k and v [1, Hkv, T, D]; return [1, T, H, Dv].

        The mask comes from the layout, never from outside. Options used: scaling, sliding_window, softcap.
        """
        assert self._layout is not None, "attention outside a step"
        refuse_unknown_tensors(module, options)
        rows_k, rows_v = k[0].transpose(0, 1), v[0].transpose(0, 1)
        keys, values = self._cache.store(int(module.layer_idx), self._layout.write_slots, rows_k, rows_v)
        scaling = options.get("scaling")
        scaling = float(q.shape[-1] ** -0.5 if scaling is None else scaling)
        out = torch.zeros((q.shape[2], q.shape[1], v.shape[-1]), dtype=q.dtype, device=q.device)
        if q.shape[1]:  # a rank may hold no head at all
            for group in self._layout.groups:
                bias = _allowed(group, options.get("sliding_window"))
                attend = self._exact_attend if self._exact or options.get("softcap") else _fast_attend
                out[group.rows] = self._unfold(group, attend, (q[0], keys, values), (bias, scaling, options))
        return out[None], None

    def _unfold(
        self, group: Group, attend: Any, tensors: tuple[torch.Tensor, ...], how: tuple[torch.Tensor, float, Any]
    ) -> torch.Tensor:
        """Fold the group's queries over their KV heads, attend, and unfold to [n, t, H, Dv]."""
        q, keys, values = tensors
        allowed, scaling, options = how
        n, t = group.rows.shape
        heads, kv_heads = q.shape[0], keys.shape[1]
        per_kv = heads // kv_heads
        folded = q[:, group.rows].view(kv_heads, per_kv, n, t, -1).permute(2, 0, 1, 3, 4)
        folded = folded.reshape(n, kv_heads, per_kv * t, -1)
        k = keys[group.key_slots].transpose(1, 2)
        v = values[group.key_slots].transpose(1, 2)
        allowed = allowed[:, None, None].expand(n, 1, per_kv, t, -1).reshape(n, 1, per_kv * t, -1)
        mixed = attend((folded, k, v), allowed, scaling, options.get("softcap"))
        mixed = mixed.reshape(n, kv_heads, per_kv, t, -1).permute(0, 3, 1, 2, 4)
        result: torch.Tensor = mixed.reshape(n, t, heads, -1)
        return result

    def _exact_attend(
        self, qkv: tuple[torch.Tensor, ...], allowed: torch.Tensor, scaling: float, softcap: float | None
    ) -> torch.Tensor:
        q, k, v = qkv
        rows = q.shape[2]
        padding = -rows % _EXACT_QUERY_ROWS if self._exact else 0
        if padding:
            q = functional.pad(q, (0, 0, 0, padding))
            allowed = functional.pad(allowed, (0, 0, 0, padding), value=True)
        tile = EXACT_KEYS if self._exact else k.shape[2]
        return _tiled((q, k, v), allowed, tile, lambda scores: _capped(scores * scaling, softcap))[:, :, :rows]


def register(prefix: str, attend: Callable[..., Any]) -> str:
    """Make a bound method one of transformers' attentions, which doesn't keep its object alive; return its name."""
    method = weakref.WeakMethod(attend)
    name = prefix + str(id(attend.__self__))  # type: ignore[attr-defined]

    def call(*arguments: Any, **options: Any) -> Any:
        living = method()
        assert living is not None, "the backend is gone, its model is not"
        return living(*arguments, **options)

    ALL_ATTENTION_FUNCTIONS.register(name, call)
    return name


def refuse_unknown_tensors(module: Any, options: dict[str, Any]) -> None:
    """Raise UnsupportedModel if a layer attends with tensors that our attention doesn't know, such as sinks."""
    unknown = [
        name for name, value in options.items() if name not in _IGNORED_TENSORS and isinstance(value, torch.Tensor)
    ]
    if unknown:
        raise UnsupportedModel(
            f"{type(module).__name__} attends with {', '.join(unknown)}, "
            "which calmops doesn't compute: it can't be served"
        )


def _tiled(
    qkv: tuple[torch.Tensor, ...], allowed: torch.Tensor, tile: int, score: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Attend over tiles of ``tile`` keys, [n, Hkv, R, D] to [n, Hkv, R, Dv], with sums in the order of the keys.

    Every product and every sum has one tile's shape, and a tile that a row may not see adds zeros, so a row's bits
    don't depend on how many keys its neighbours have. The maximum is exact in any order. Tensors are made contiguous,
    since where bfloat16 has no instructions of its own, torch multiplies a strided matrix in another order than a dense
    one.
    """
    q, k, v = (tensor.contiguous() for tensor in qkv)
    n, heads, rows, _ = q.shape
    tiles = k.shape[2] // tile
    k_tiles = k.view(n, heads, tiles, tile, k.shape[3])
    v_tiles = v.view(n, heads, tiles, tile, v.shape[3])
    seen = allowed.expand(n, heads, rows, -1).reshape(n, heads, rows, tiles, tile).transpose(2, 3)
    scores = score(torch.matmul(q[:, :, None], k_tiles.transpose(3, 4)).float()).masked_fill(~seen, -torch.inf)
    weights = torch.exp(scores - scores.amax(dim=(2, 4), keepdim=True))
    sums = weights.sum(dim=-1, keepdim=True)
    mixed = torch.matmul(weights.to(v.dtype), v_tiles).float()
    total, out = sums[:, :, 0], mixed[:, :, 0]
    for number in range(1, tiles):
        total = total + sums[:, :, number]
        out = out + mixed[:, :, number]
    return (out / total).to(v.dtype)


def _capped(scores: torch.Tensor, softcap: float | None) -> torch.Tensor:
    return torch.tanh(scores / softcap) * softcap if softcap else scores


def _fast_attend(
    qkv: tuple[torch.Tensor, ...], allowed: torch.Tensor, scaling: float, softcap: float | None
) -> torch.Tensor:
    assert not softcap, "this recipe has no soft cap"
    q, k, v = qkv
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed, scale=scaling)


def _allowed(group: Group, window: int | None) -> torch.Tensor:
    """Return which keys each row may see, [n, t, K] bool: its own and earlier ones, within the window if any."""
    key = torch.arange(group.key_slots.shape[1], device=group.key_slots.device)
    query = group.positions[:, :, None]
    allowed = key <= query
    if window:
        allowed = allowed & (key > query - window)
    return allowed
