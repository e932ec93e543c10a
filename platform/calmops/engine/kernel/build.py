"""Compile the kernel with plain g++ for this machine's processor, once per source and path, into the state folder."""

import ctypes
import fcntl
import functools
import hashlib
import os
import subprocess
from pathlib import Path

from calmops.foundation.errors import SetupError, UnsupportedModel
from calmops.foundation.paths import folder
from calmops.foundation.processor import processor, processor_flags

HERE = Path(__file__).resolve().parent
COMMON = ("-std=c++20", "-O3", "-ffp-contract=off", "-fPIC", "-shared", "-pthread", "-w")
_AVX2 = ("-mavx2", "-mfma")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq")
# Code paths, best first: what the processor must say of itself (/proc/cpuinfo), and how g++ is told.
PATHS: dict[str, tuple[frozenset[str], tuple[str, ...]]] = {
    "amx": (
        frozenset(("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_bf16", "amx_tile", "amx_bf16")),
        (*_AVX512, "-mavx512bf16", "-mamx-tile", "-mamx-bf16"),
    ),
    "avx512-bf16": (frozenset(("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_bf16")), (*_AVX512, "-mavx512bf16")),
    "avx512": (frozenset(("avx512f", "avx512bw", "avx512vl", "avx512dq")), _AVX512),
    "avx2": (frozenset(("avx2", "fma")), _AVX2),
}  # fmt: skip
# A sum of bf16 products starts every other cycle on Intel's cores, where two FMAs start in each: measured on Sapphire Rapids, 88
# and 177 GFLOP/s a core, so widening bf16 to float32 is nearly twice as fast in a full tile. AMD's keep the sum: none that has it was at hand.
SLOW_DOT = ("avx512-bf16", "GenuineIntel")  # the path that a vendor's processors are better off without
REQUEST_TILES = (158, 0x1023, 18)  # arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
COMPILE_TIMEOUT_S = 600


def best_path() -> str | None:
    """The best code path that this processor runs; None if it runs none."""
    flags, vendor = processor_flags(), processor("vendor_id")
    fit = (name for name, (needed, _) in PATHS.items() if needed <= flags and (name, vendor) != SLOW_DOT)
    return next((name for name in fit if name != "amx" or (_tiles_granted() and _compiler_has_tiles())), None)


def _tiles_granted() -> bool:
    """Whether Linux lets this process have the tile registers (5.16 and later do, but for some sandboxes); asked for on the way."""
    return ctypes.CDLL(None).syscall(*REQUEST_TILES) == 0


@functools.cache
def _compiler_has_tiles() -> bool:
    """Whether g++ knows them: 11 and later do. Where there is no g++, ``library`` says so."""
    command = ["g++", *PATHS["amx"][1], "-E", "-x", "c++", os.devnull, "-o", os.devnull]
    try:
        return subprocess.run(command, check=False, capture_output=True, timeout=COMPILE_TIMEOUT_S).returncode == 0
    except FileNotFoundError:
        return True


def library(path: str, extra: tuple[str, ...] = ()) -> Path:
    """The compiled kernel for a code path, compiled now (about 15 s) if it isn't there, one process at a time.

    Raises SetupError if g++ is missing or fails.
    """
    sources = sorted([*HERE.glob("*.h"), *HERE.glob("*.cpp")])
    command = ["g++", *COMMON, *PATHS[path][1], *extra, *(str(one) for one in sources if one.suffix == ".cpp")]
    digest = hashlib.sha256(" ".join([*COMMON, *PATHS[path][1], *extra]).encode())
    for source in sources:
        digest.update(source.read_bytes())
    built = folder("build") / f"kernel-{path}-{digest.hexdigest()[:16]}.so"
    if built.exists():
        return built
    with (folder("build") / "kernel.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            fresh = built.with_suffix(".new")
            _compile([*command, "-o", str(fresh)])
            fresh.rename(built)
    return built


def prebuild() -> str | None:
    """Compile the kernel for this processor ahead of time; where it lies, or None where no path fits the processor."""
    path = best_path()
    return None if path is None else str(library(path))


def load(path: str) -> ctypes.CDLL:
    """The kernel's C functions for a code path. torch must have been imported before, or two thread pools are loaded.

    Raises UnsupportedModel if the path is amx and Linux withholds the tile registers, without which its first tile kills the process.
    """
    if path == "amx" and not _tiles_granted():
        raise UnsupportedModel(
            "Linux doesn't let this process have AMX's tile registers (arch_prctl): take the path avx512"
        )
    return ctypes.CDLL(str(library(path)))


def _compile(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S)
    except FileNotFoundError as error:
        raise SetupError(
            "the CPU kernel can't be compiled: there is no g++ here; install it (Debian: apt install g++)"
        ) from error
    except subprocess.CalledProcessError as error:
        raise SetupError(
            f"the CPU kernel can't be compiled: {' '.join(command)} said:\n{error.stderr[-2000:]}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"the CPU kernel wasn't compiled within {COMPILE_TIMEOUT_S} s: {' '.join(command)}") from error
