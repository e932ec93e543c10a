"""Which code path of the kernel a processor gets."""

from pathlib import Path

import pytest

from calmops.engine.kernel import build
from calmops.foundation import processor

AVX2 = "fpu sse4_2 avx2 fma"
AMX = "amx_bf16 amx_tile amx_int8"
AVX512 = f"{AVX2} avx512f avx512bw avx512vl avx512dq"


@pytest.mark.parametrize(
    ("vendor", "flags", "path"),
    [
        ("AuthenticAMD", f"{AVX512} avx512_bf16", "avx512-bf16"), ("GenuineIntel", f"{AVX512} avx512_bf16", "avx512"), ("GenuineIntel", AVX512, "avx512"),
        ("GenuineIntel", f"{AVX512} avx512_bf16 {AMX}", "amx"), ("GenuineIntel", f"{AVX512} {AMX}", "avx512"), ("AuthenticAMD", AVX2, "avx2"), ("GenuineIntel", f"{AVX2} avx512f", "avx2"), ("AuthenticAMD", "fpu sse4_2 avx2", None),
    ],
)  # fmt: skip
def test_it_is_the_fastest_that_the_processor_runs(vendor: str, flags: str, path: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: {flags}\n", encoding="utf-8")
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(build, "_tiles_granted", lambda: True)
    assert build.best_path() == path
    monkeypatch.setattr(build, "_tiles_granted", lambda: False)
    assert build.best_path() == ("avx512" if path == "amx" else path), "without leave for its registers"


def test_a_machine_that_says_nothing_of_its_processor_gets_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "none")
    assert build.best_path() is None
