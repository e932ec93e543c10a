"""Makes torch's matrix products on a CPU batch-invariant, so that `exact` can be had through transformers' modules.

A row's bits must not depend on how many rows are multiplied beside it. By default, MKL adds up a few rows in another
order than many on Intel's processors, and oneDNN, which multiplies bfloat16 where there is AVX-512, does so for nearly
every number of rows. MKL in its strict reproducible mode and torch's own bfloat16 product don't: 0 of 78 shapes of
either type, K from 32 to 11,008, 1 to 128 rows. The latter is some ten times slower. ``check_products`` shows on the
model's own weights that it worked.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional

from calmops.foundation.errors import UnsupportedModel
from calmops.foundation.processor import MKL_MODE, mkl_mode, processor, processor_flags

ONEDNN: Any = torch.backends.mkldnn
_FEW, _MANY = (4, 12, 16, 28), 64  # rows
_MOST_OUTPUTS = 4096


def choose_products() -> None:
    """Make MKL add up in one order, however many rows there are. Call it before the first product of the process."""
    if processor("vendor_id") == "GenuineIntel":
        os.environ.setdefault(MKL_MODE, "AVX512,STRICT" if "avx512f" in processor_flags() else "AVX2,STRICT")


def torch_path() -> str:
    """Name torch's instructions and order of sums on this CPU, which are part of what decides a token's bits."""
    return "-".join(filter(None, (torch.backends.cpu.get_cpu_capability(), mkl_mode())))


@contextmanager
def invariant_products() -> Iterator[None]:
    """Turn oneDNN off within the block, whose products then go through torch's own code."""
    before = ONEDNN.enabled
    ONEDNN.enabled = False
    try:
        yield
    finally:
        ONEDNN.enabled = before


def check_products(model: torch.nn.Module) -> None:
    """Raise UnsupportedModel if a row's bits depend on the rows beside it, tried on one weight of each shape and dtype.

    Of a wide weight, only the first 4,096 outputs are tried, to save time.
    """
    weights = {}
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, torch.Tensor) and weight.dim() == 2 and not isinstance(module, torch.nn.Embedding):
            weights[weight.shape, weight.dtype] = weight.detach()[:_MOST_OUTPUTS]
    for weight in weights.values():
        rows = torch.randn(_MANY, weight.shape[1], generator=torch.Generator().manual_seed(1)).to(weight.dtype)
        with torch.inference_mode(), invariant_products():
            expected = functional.linear(rows, weight)
            wrong = [
                few
                for few in _FEW
                if not torch.equal(functional.linear(rows[-few:].contiguous(), weight), expected[-few:])
            ]
        if wrong:
            raise UnsupportedModel(
                "exact can't be had on this processor through transformers' modules: with a weight of "
                f"{' x '.join(map(str, weight.shape))} torch computes {wrong[0]} rows to other bits than {_MANY}; "
                "set exact to false"
            )
