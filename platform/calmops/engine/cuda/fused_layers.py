"""Computes RMS norms and rotary embeddings in one launch each, where transformers' modules need many small ones.

Ours replaces theirs only if it gives what theirs gives on random rows, to the bit except for a sum that was rounded in
another way; so a family that computes them differently keeps its own. Knows no step and no cache.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import triton
import triton.language as tl

_ROTARY = "apply_rotary_pos_emb"  # a function of each family's module; its attention looks it up when it runs
_AGREE = {torch.bfloat16: 2.0**-7, torch.float32: 1e-5}  # relative: an ulp of bfloat16
_UNEQUAL = 0.01  # at most this share of bfloat16's values may be an ulp off; one rounding more would change a third

Rotate = Callable[..., tuple[torch.Tensor, torch.Tensor]]


def fuse_norms(model: Any) -> int:
    """Replace the forward of every RMS norm that ours equals; return how many were replaced."""
    norms = [module for module in model.modules() if type(module).__name__.endswith("RMSNorm")]
    first_of_type = {type(module): module for module in reversed(norms)}
    agrees = {norm_type: _norm_agrees(module) for norm_type, module in first_of_type.items()}
    fused = [module for module in norms if agrees[type(module)]]
    for module in fused:
        module.forward = _Norm(module)
    return len(fused)


class FusedRotary:
    """Puts our rotation in place of the family's while one of our steps runs; others may use the module beside us."""

    def __init__(self, model: Any) -> None:
        self._module: Any = sys.modules[type(model).__module__]
        self._theirs: Rotate | None = getattr(self._module, _ROTARY, None)
        weight = next(model.parameters())
        self.agrees = self._theirs is not None and _rotary_agrees(self._theirs, weight.dtype, weight.device)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Let the model's attention rotate through our kernel within the block, if the results agree."""
        if not self.agrees:
            yield
            return
        setattr(self._module, _ROTARY, self._rotate)
        try:
            yield
        finally:
            setattr(self._module, _ROTARY, self._theirs)

    def _rotate(
        self, q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *more: Any, **options: Any
    ) -> Any:
        """Rotate by ours if whole heads are turned in their own dtype and nothing more is asked for, else by theirs."""
        if more or options or cos.shape != (1, q.shape[2], q.shape[3]) or cos.dtype != q.dtype:
            assert self._theirs is not None, "it agreed"
            return self._theirs(q, k, cos, sin, *more, **options)
        return rotate(q, k, cos, sin)


def rotate(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return q [1, H, T, D] and k [1, Hkv, T, D] turned by cos and sin [1, T, D], as new tensors."""
    _, heads, rows, size = q.shape
    assert cos.shape == sin.shape == (1, rows, size), f"cos is {tuple(cos.shape)}, rows turn by {(1, rows, size)}"
    kv_heads = k.shape[1]
    turned = torch.empty((rows, heads + kv_heads, size), dtype=q.dtype, device=q.device)
    _rotate[(rows, heads + kv_heads)](
        q, k, cos, sin, turned, heads, q.stride(2), q.stride(1), k.stride(2), k.stride(1), cos.stride(1), sin.stride(1),
        HALF=size // 2, PADDED=1 << (size // 2 - 1).bit_length(), num_warps=1,
    )  # fmt: skip
    both = turned.transpose(0, 1)[None]
    return both[:, :heads], both[:, heads:]


class _Norm:
    """Replaces a norm's forward: x [..., H] to [..., H]."""

    def __init__(self, module: Any) -> None:
        self._weight: torch.Tensor = module.weight
        self._epsilon = float(module.variance_epsilon)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        size = x.shape[-1]
        out = torch.empty((len(rows), size), dtype=x.dtype, device=x.device)
        _normalise[(len(rows),)](
            rows, self._weight, out, self._epsilon, rows.stride(0), SIZE=size, PADDED=1 << (size - 1).bit_length(),
            num_warps=4 if size > 256 else 1,
        )  # fmt: skip
        return out.view(x.shape)


@torch.inference_mode()
def _norm_agrees(module: Any) -> bool:
    """Say whether ours gives what the module gives; some scale by 1 + weight, or have other names."""
    weight = getattr(module, "weight", None)
    if not hasattr(module, "variance_epsilon") or weight is None or weight.dtype not in _AGREE:
        return False
    rows = torch.randn((32, weight.shape[0]), device=weight.device, dtype=torch.float32).mul_(3).to(weight.dtype)
    return _same(module(rows), _Norm(module)(rows))


@torch.inference_mode()
def _rotary_agrees(theirs: Rotate, dtype: torch.dtype, device: torch.device) -> bool:
    if dtype not in _AGREE:
        return False
    q, k = (torch.randn((1, 5, heads, 32), device=device).to(dtype).transpose(1, 2) for heads in (4, 2))
    angles = torch.randn((1, 5, 16), device=device).repeat(1, 1, 2)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    try:
        expected = theirs(q, k, cos, sin)
    except (TypeError, ValueError, RuntimeError):  # it takes other arguments
        return False
    return all(_same(a, b) for a, b in zip(expected, rotate(q, k, cos, sin), strict=True))


def _same(theirs: torch.Tensor, ours: torch.Tensor) -> bool:
    if theirs.dtype != ours.dtype or theirs.shape != ours.shape:
        return False
    near = torch.allclose(theirs, ours, rtol=_AGREE[ours.dtype], atol=_AGREE[ours.dtype])
    return near and (ours.dtype == torch.float32 or float((theirs != ours).float().mean()) <= _UNEQUAL)


@triton.jit
def _normalise(  # type: ignore[no-untyped-def]  # Triton types its own arguments
    x_ptr, weight_ptr, out_ptr, epsilon, x_row, SIZE: tl.constexpr, PADDED: tl.constexpr
):  # fmt: skip
    row, at = tl.program_id(0), tl.arange(0, PADDED)
    inside = at < SIZE
    x = tl.load(x_ptr + row * x_row + at, mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(x * x, 0) / SIZE + epsilon)
    weight = tl.load(weight_ptr + at, mask=inside, other=0.0)
    normal = (x * scale).to(weight.dtype).to(tl.float32)  # rounded before the weight is applied, as in theirs
    tl.store(out_ptr + row * SIZE + at, (normal * weight.to(tl.float32)).to(weight.dtype), mask=inside)


@triton.jit(do_not_specialize=["heads"])
def _rotate(  # type: ignore[no-untyped-def]  # Triton types its own arguments
    q_ptr, k_ptr, cos_ptr, sin_ptr, out_ptr, heads, q_row, q_head, k_row, k_head, cos_row, sin_row,
    HALF: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0), tl.program_id(1)
    at = tl.arange(0, PADDED)
    inside = at < HALF
    x_ptr = q_ptr + row * q_row + head * q_head if head < heads else k_ptr + row * k_row + (head - heads) * k_head
    low = tl.load(x_ptr + at, mask=inside, other=0.0)
    high = tl.load(x_ptr + HALF + at, mask=inside, other=0.0)
    cos_ptr += row * cos_row
    sin_ptr += row * sin_row
    cos_low = tl.load(cos_ptr + at, mask=inside, other=0.0).to(tl.float32)
    cos_high = tl.load(cos_ptr + HALF + at, mask=inside, other=0.0).to(tl.float32)
    sin_low = tl.load(sin_ptr + at, mask=inside, other=0.0).to(tl.float32)
    sin_high = tl.load(sin_ptr + HALF + at, mask=inside, other=0.0).to(tl.float32)
    # Each product is rounded before the sum, as in theirs.
    kind = low.dtype
    low, high = low.to(tl.float32), high.to(tl.float32)
    turned_low = (low * cos_low).to(kind).to(tl.float32) - (high * sin_low).to(kind).to(tl.float32)
    turned_high = (high * cos_high).to(kind).to(tl.float32) + (low * sin_high).to(kind).to(tl.float32)
    out_ptr += (row * tl.num_programs(1) + head) * 2 * HALF
    tl.store(out_ptr + at, turned_low.to(kind), mask=inside)
    tl.store(out_ptr + HALF + at, turned_high.to(kind), mask=inside)
