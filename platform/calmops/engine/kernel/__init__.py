"""The CPU kernel: ``pack`` a rank's shard once, then ``step``. A row's bits don't depend on the batch it is in.

Knows no request, no sampling and no text. The C++ beside this file does the work; this only hands it pointers.
"""

import ctypes
from array import array
from typing import Any

import torch

from calmops.engine.kernel import structures
from calmops.engine.kernel.all_reduce import SharedMemoryAllReduce
from calmops.engine.kernel.build import best_path, load
from calmops.engine.kernel.packing import give_back
from calmops.engine.kernel.support import unsupported_reason
from calmops.engine.kernel.weights import AllReduce, PackSettings, ShapeBuilder
from calmops.foundation.errors import UnsupportedModel
from calmops.messages.plan import BLOCK_TOKENS, StepPlan

__all__ = [
    "AllReduce",
    "Kernel",
    "PackSettings",
    "SharedMemoryAllReduce",
    "best_path",
    "load",
    "pack",
    "unsupported_reason",
]


def pack(model: Any, how: PackSettings) -> "Kernel":
    """Pack a transformers model's shard for this processor, freeing its weights; the model can't be called any more.

    Raises UnsupportedModel if the kernel can't run it or the processor can't run the kernel, SetupError without g++.
    """
    reason = unsupported_reason(model.config)
    if reason is not None:
        raise UnsupportedModel(f"the CPU kernel can't run this model: {reason}")
    path = how.path or best_path()
    if path is None:
        raise UnsupportedModel("the CPU kernel needs a processor with AVX2 and FMA")
    assert how.tp == 1 or how.all_reduce is not None, "a gang of several ranks needs a sum over them"
    library = load(path)
    shaping = ShapeBuilder(model, how)
    shape = shaping.shape()
    give_back()
    return Kernel(library, shape, shaping.kept, how)


class Kernel:
    """One rank's packed weights and cache. One thread calls it."""

    def __init__(self, library: ctypes.CDLL, shape: structures.Shape, kept: list[Any], how: PackSettings) -> None:
        self._kept = [*kept, library]  # what C++ points to
        self._failed: list[BaseException] = []
        self.step_width = int(shape.vocabulary)  # logits of a row
        self._max_rows = how.max_rows
        if isinstance(how.all_reduce, SharedMemoryAllReduce):
            shape.reduce, shape.context = structures.REDUCE(how.all_reduce.function), how.all_reduce.handle
            self._kept.append(how.all_reduce)
        elif how.all_reduce is not None:
            shape.reduce = structures.REDUCE(self._reducer(how.all_reduce))
            self._kept.append(shape.reduce)
        self._step, self._close = library.calmops_step, library.calmops_close
        self._step.argtypes, self._step.restype = (ctypes.c_void_p, ctypes.POINTER(structures.Step)), None
        self._draw = library.calmops_draw
        self._draw.argtypes, self._draw.restype = (ctypes.c_void_p, ctypes.POINTER(structures.Draws)), None
        self._close.argtypes, self._close.restype = (ctypes.c_void_p,), None
        library.calmops_open.argtypes, library.calmops_open.restype = (
            (ctypes.POINTER(structures.Shape), ctypes.c_char_p),
            ctypes.c_void_p,
        )
        self._model = library.calmops_open(ctypes.byref(shape), how.weights.encode())
        if not self._model:
            raise UnsupportedModel(
                f"there isn't memory for a cache of {how.kv_blocks} blocks of {BLOCK_TOKENS} tokens: set kv_blocks lower"
            )

    def step(self, plan: StepPlan) -> torch.Tensor:
        """One forward pass: logits [W, V'] float32 of the wanted rows; V' is the vocabulary padded to a multiple of 64."""
        assert len(plan.tokens) <= self._max_rows, f"{len(plan.tokens)} rows in a step of at most {self._max_rows}"
        logits = torch.empty((len(plan.wanted_rows), self.step_width), dtype=torch.float32)
        width = max(map(len, plan.block_tables))
        tables = array("i")
        for table in plan.block_tables:
            tables.extend(table)
            tables.extend((0,) * (width - len(table)))
        given = [array("i", one) for one in (plan.tokens, plan.positions, plan.rows_to_sequence)]
        wanted = array("i", plan.wanted_rows)
        addresses = [one.buffer_info()[0] for one in (*given, tables, wanted)]
        counts = (len(plan.tokens), width, len(plan.wanted_rows))
        self._step(self._model, ctypes.byref(structures.Step(*counts, *addresses, logits.data_ptr())))
        if self._failed:
            raise self._failed.pop()
        return logits

    def draw(self, draws: structures.Draws) -> None:
        """Draw tokens from logits as wide as ``step``'s; drawing.py fills the structure and reads what came out."""
        self._draw(self._model, ctypes.byref(draws))

    def _reducer(self, all_reduce: AllReduce) -> Any:
        """What C++ calls to sum over the ranks. An exception can't cross C++: it is raised when the step is over."""

        def reduce(data: Any, count: int, _context: object) -> None:
            try:
                if not self._failed:
                    all_reduce(
                        torch.frombuffer(
                            (ctypes.c_float * count).from_address(ctypes.addressof(data.contents)), dtype=torch.float32
                        )
                    )
            except BaseException as error:
                self._failed.append(error)

        return reduce

    def __del__(self) -> None:
        if getattr(self, "_model", None):
            self._close(self._model)
