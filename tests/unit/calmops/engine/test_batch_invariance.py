"""Matrix products don't depend on the rows beside a row: MKL is set up, oneDNN is off, the weights are checked."""

import contextlib
import os
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from calmops.engine import batch_invariance
from calmops.engine.backends import transformers
from calmops.engine.backends.transformers import TransformersBackend
from calmops.foundation import processor
from calmops.foundation.errors import UnsupportedModel
from calmops.foundation.processor import MKL_MODE
from tests.support.engine.engine_settings import engine_settings


@pytest.mark.parametrize(
    ("vendor", "flags", "mode"),
    [
        ("GenuineIntel", "avx2 fma avx512f", "AVX512,STRICT"),
        ("GenuineIntel", "avx2 fma", "AVX2,STRICT"),
        ("AuthenticAMD", "avx2 fma", None),
    ],
)
def test_mkl_is_set_up_on_intels_processors_only(
    vendor: str, flags: str, mode: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text(f"vendor_id\t: {vendor}\nflags\t\t: {flags}\n", encoding="utf-8")
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setenv(MKL_MODE, "")
    monkeypatch.delenv(MKL_MODE)
    batch_invariance.choose_products()
    assert os.environ.get(MKL_MODE) == mode


def test_a_mode_that_is_set_already_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MKL_MODE, "COMPATIBLE")
    batch_invariance.choose_products()
    assert os.environ[MKL_MODE] == "COMPATIBLE"


def test_onednn_is_back_on_afterwards_even_after_an_error() -> None:
    before = batch_invariance.ONEDNN.enabled
    with batch_invariance.invariant_products():
        assert not batch_invariance.ONEDNN.enabled
    with contextlib.suppress(KeyError), batch_invariance.invariant_products():
        raise KeyError
    assert batch_invariance.ONEDNN.enabled == before


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_products_of_an_exact_backend_alone_are_checked(
    dtype: Literal["float32", "bfloat16"], llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[torch.nn.Module] = []

    def check(model: torch.nn.Module) -> None:
        checked.append(model)
        batch_invariance.check_products(model)

    monkeypatch.setattr(transformers, "check_products", check)
    for exact in (True, False):
        TransformersBackend(engine_settings(folder=llama, kv_blocks=16, exact=exact, dtype=dtype))
    assert len(checked) == 1


def test_a_processor_whose_products_depend_on_the_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.nn.functional.linear

    def depends_on_rows(rows: torch.Tensor, weight: torch.Tensor, *more: Any) -> torch.Tensor:
        return real(rows, weight, *more) + (len(rows) < 16)

    monkeypatch.setattr(torch.nn.functional, "linear", depends_on_rows)
    with pytest.raises(
        UnsupportedModel, match="weight of 96 x 64 torch computes 4 rows to other bits than 64; set exact to false"
    ):
        batch_invariance.check_products(torch.nn.ModuleList([torch.nn.Embedding(8, 64), torch.nn.Linear(64, 96)]))
