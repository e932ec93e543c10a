"""Each processor gets the fastest code path of the kernel that it, its Linux and its compiler can run."""

from pathlib import Path

import pytest

from calmops.engine.kernel import build
from calmops.foundation import processor
from calmops.foundation.errors import UnsupportedModel

AVX2 = "fpu sse4_2 avx2 fma"
AMX = "amx_bf16 amx_tile amx_int8"
AVX512 = f"{AVX2} avx512f avx512bw avx512vl avx512dq"


@pytest.mark.parametrize(
    ("vendor", "flags", "path"),
    [
        ("AuthenticAMD", f"{AVX512} avx512_bf16", "avx512-bf16"),
        ("GenuineIntel", f"{AVX512} avx512_bf16", "avx512"),
        ("GenuineIntel", AVX512, "avx512"),
        ("GenuineIntel", f"{AVX512} avx512_bf16 {AMX}", "amx"),
        ("GenuineIntel", f"{AVX512} {AMX}", "avx512"),
        ("AuthenticAMD", AVX2, "avx2"),
        ("GenuineIntel", f"{AVX2} avx512f", "avx2"),
        ("AuthenticAMD", "fpu sse4_2 avx2", None),
    ],
)
def test_the_best_path_is_the_fastest_that_the_processor_runs(
    vendor: str, flags: str, path: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: {flags}\n", encoding="utf-8")
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(build, "_tiles_granted", lambda: True)
    monkeypatch.setattr(build, "_compiler_has_tiles", lambda: True)
    assert build.best_path() == path
    without = "avx512" if path == "amx" else path
    monkeypatch.setattr(build, "_compiler_has_tiles", lambda: False)
    assert build.best_path() == without, "with a g++ older than 11"
    monkeypatch.setattr(build, "_compiler_has_tiles", lambda: True)
    monkeypatch.setattr(build, "_tiles_granted", lambda: False)
    assert build.best_path() == without, "without its registers"


@pytest.mark.parametrize(("status", "has"), [(0, True), (1, False)])
def test_the_compiler_is_asked_whether_it_knows_tiles(
    status: int, has: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/asked"\nexit {status}\n', encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    build._compiler_has_tiles.cache_clear()
    try:
        assert build._compiler_has_tiles() is has
    finally:
        build._compiler_has_tiles.cache_clear()
    assert "-mamx-bf16" in (tmp_path / "asked").read_text(encoding="utf-8")


def test_tiles_that_linux_withholds_are_an_error_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_tiles_granted", lambda: False)
    with pytest.raises(UnsupportedModel, match=r"AMX's tile registers .* take the path avx512"):
        build.load("amx")


def test_an_unknown_processor_gets_no_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "none")
    assert build.best_path() is None
