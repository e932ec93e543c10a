"""This module reads what the machine's processor states about itself, and which way MKL is set to add up on it."""

import os
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
MKL_MODE = "MKL_CBWR"  # MKL's conditional numerical reproducibility; it reads this at its first call in a process


def processor(field: str) -> str:
    """Return the first processor's value of a field of /proc/cpuinfo; empty if it has none."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")


def processor_flags() -> frozenset[str]:
    """Return what the processor can do, by the names of /proc/cpuinfo."""
    return frozenset(processor("flags").split())


def mkl_mode() -> str:
    """Return the mode that MKL_MODE names now; empty if it isn't set."""
    return os.environ.get(MKL_MODE, "")
