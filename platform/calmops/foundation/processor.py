"""What this machine's processor says of itself, and how MKL was told to add up on it."""

import os
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
MKL_MODE = "MKL_CBWR"  # the variable of its conditional numerical reproducibility; read at its first call in a process


def processor(field: str) -> str:
    """What the first one says; empty if it says nothing."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")


def processor_flags() -> frozenset[str]:
    """What it can do, by the names of /proc/cpuinfo."""
    return frozenset(processor("flags").split())


def mkl_mode() -> str:
    """As it is chosen now; empty if nobody chose."""
    return os.environ.get(MKL_MODE, "")
