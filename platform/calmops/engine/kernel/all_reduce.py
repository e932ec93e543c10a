"""Our sum over a gang's ranks (reduce.cpp): it sleeps after a bounded spin, where DeepSpeed's op spins on for ever."""

import ctypes

from calmops.foundation.errors import GangError
from calmops.foundation.paths import SHARED_MEMORY


class SharedMemoryAllReduce:
    """One rank's end. Open it on every rank, meet, then ``unlink``: nothing is left behind, even after SIGKILL."""

    def __init__(self, library: ctypes.CDLL, name: str, rank: int, ranks: int) -> None:
        """``name`` must be fresh for each gang. Raises GangError if the memory can't be had."""
        assert ranks >= 2, f"{ranks} rank has nobody to sum with"
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
        """Take the name away; every rank has opened it by now."""
        self._file.unlink(missing_ok=True)

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self._close(self.handle)
