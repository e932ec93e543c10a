"""Compiles the kernel with plain g++ for this machine's processor, once per source and code path.

The libraries lie in the state folder. Knows the C++ files by their names and bytes only.
"""

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
# Code paths, the best first: the flags that the processor must show in /proc/cpuinfo, and the options for g++.
PATHS: dict[str, tuple[frozenset[str], tuple[str, ...]]] = {
    "amx": (
        frozenset(("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_bf16", "amx_tile", "amx_bf16")),
        (*_AVX512, "-mavx512bf16", "-mamx-tile", "-mamx-bf16"),
    ),
    "avx512-bf16": (
        frozenset(("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_bf16")),
        (*_AVX512, "-mavx512bf16"),
    ),
    "avx512": (frozenset(("avx512f", "avx512bw", "avx512vl", "avx512dq")), _AVX512),
    "avx2": (frozenset(("avx2", "fma")), _AVX2),
}  # fmt: skip
# The code path that Intel's processors are faster without. A sum of bf16 products starts every other cycle on Intel's
# cores, where two FMAs start in each cycle: measured on Sapphire Rapids, 88 and 177 GFLOP/s per core. So widening bf16
# to float32 is nearly twice as fast in a full tile. AMD's keep the path: on a Genoa torch multiplies 2.3 times as fast
# in bf16 as in float32.
SLOW_DOT = ("avx512-bf16", "GenuineIntel")
REQUEST_TILES = (158, 0x1023, 18)  # arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
COMPILE_TIMEOUT_S = 600


def best_path() -> str | None:
    """Return the best code path that this processor runs; None if it runs none."""
    flags, vendor = processor_flags(), processor("vendor_id")
    fitting = (name for name, (needed, _) in PATHS.items() if needed <= flags and (name, vendor) != SLOW_DOT)
    return next((name for name in fitting if name != "amx" or (_tiles_granted() and _compiler_has_tiles())), None)


def _tiles_granted() -> bool:
    """Ask Linux for the tile registers and say whether it grants them: 5.16 and later do, except in some sandboxes."""
    return ctypes.CDLL(None).syscall(*REQUEST_TILES) == 0


@functools.cache
def _compiler_has_tiles() -> bool:
    """Say whether g++ knows the tile registers: 11 and later do. Without g++, ``library`` raises the error."""
    command = ["g++", *PATHS["amx"][1], "-E", "-x", "c++", os.devnull, "-o", os.devnull]
    try:
        return subprocess.run(command, check=False, capture_output=True, timeout=COMPILE_TIMEOUT_S).returncode == 0
    except FileNotFoundError:
        return True


def library(path: str, extra: tuple[str, ...] = ()) -> Path:
    """Return the compiled kernel for a code path; compile it first (about 15 s) if it isn't there.

    One process compiles at a time. Raises SetupError if g++ is missing or fails.
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
    """Compile the kernel for this processor ahead of time; return its path, or None if the processor can't run it."""
    path = best_path()
    return None if path is None else str(library(path))


def load(path: str) -> ctypes.CDLL:
    """Load the kernel's C functions for a code path. Import torch first, or two thread pools are loaded.

    Raises UnsupportedModel if the path is amx and Linux withholds the tile registers, without which the first tile
    would kill the process.
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
