"""Opens our sum over a gang's ranks (reduce.cpp), which sleeps after a bounded spin; DeepSpeed's op spins for ever.

Knows no weights and no step.
"""

import ctypes

from calmops.foundation.errors import GangError
from calmops.foundation.paths import SHARED_MEMORY


class SharedMemoryAllReduce:
    """Holds one rank's end of the sum.

    Open it on every rank, wait until each rank has, then ``unlink``: nothing is left behind, even after SIGKILL.
    """

    def __init__(self, library: ctypes.CDLL, name: str, rank: int, ranks: int) -> None:
        """Map the memory, or raise GangError if that fails. ``name`` must be fresh for each gang."""
        assert ranks >= 2, f"{ranks} rank has no other rank to sum with"
        self._file = SHARED_MEMORY / f"calmops-reduction-{name}"
        self.function = ctypes.cast(library.calmops_reduction_sum, ctypes.c_void_p).value or 0
        self._close = library.calmops_reduction_close
        self._close.argtypes, self._close.restype = (ctypes.c_void_p,), None
        library.calmops_reduction_open.argtypes = (ctypes.c_char_p, ctypes.c_int, ctypes.c_int)
        library.calmops_reduction_open.restype = ctypes.c_void_p
        self.handle = library.calmops_reduction_open(str(self._file).encode(), rank, ranks)
        if not self.handle:
            raise GangError(f"rank {rank} of {ranks} can't map {self._file}: is {SHARED_MEMORY} there, and not full?")

    def unlink(self) -> None:
        """Remove the file's name, once every rank has opened it."""
        self._file.unlink(missing_ok=True)

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self._close(self.handle)
