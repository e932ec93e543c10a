"""Runs a model on a CPU in our own C++, the kernel: ``pack`` a rank's shard once, then ``step``.

A row's bits don't depend on the batch that it is in. The C++ beside this file does the work; this file only hands it
pointers. Knows no request and no text.
"""

import ctypes
from array import array
from typing import Any

import torch

from calmops.engine.kernel import structures
from calmops.engine.kernel.all_reduce import SharedMemoryAllReduce
from calmops.engine.kernel.build import best_path, load
from calmops.engine.kernel.packing import return_freed_memory
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


def pack(model: Any, settings: PackSettings) -> "Kernel":
    """Pack a transformers model's shard for this processor and free its weights; the model can't be called any more.

    Raises UnsupportedModel if the kernel can't run it or the processor can't run the kernel, SetupError without g++.
    """
    reason = unsupported_reason(model.config)
    if reason is not None:
        raise UnsupportedModel(f"the CPU kernel can't run this model: {reason}")
    path = settings.path or best_path()
    if path is None:
        raise UnsupportedModel("the CPU kernel needs a processor with AVX2 and FMA")
    assert settings.tp == 1 or settings.all_reduce is not None, "a gang of several ranks needs a sum over them"
    library = load(path)
    builder = ShapeBuilder(model, settings)
    shape = builder.shape()
    return_freed_memory()
    return Kernel(library, shape, builder.kept, settings)


class Kernel:
    """Holds one rank's packed weights and cache, and steps through plans. One thread calls it."""

    def __init__(self, library: ctypes.CDLL, shape: structures.Shape, kept: list[Any], settings: PackSettings) -> None:
        """Allocate the cache, or raise UnsupportedModel without memory for it. ``kept``: what ``shape`` points to."""
        self._kept = [*kept, library]  # what C++ points to
        self._failed: list[BaseException] = []
        self.step_width = int(shape.vocabulary)  # logits per row: the vocabulary, padded to a multiple of 64
        self._max_rows = settings.max_rows
        if isinstance(settings.all_reduce, SharedMemoryAllReduce):
            shape.reduce = structures.REDUCE(settings.all_reduce.function)
            shape.context = settings.all_reduce.handle
            self._kept.append(settings.all_reduce)
        elif settings.all_reduce is not None:
            shape.reduce = structures.REDUCE(self._reducer(settings.all_reduce))
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
        self._model = library.calmops_open(ctypes.byref(shape), settings.weights.encode())
        if not self._model:
            raise UnsupportedModel(
                f"there isn't memory for a cache of {settings.kv_blocks} blocks of {BLOCK_TOKENS} tokens: "
                "set kv_blocks lower"
            )

    def step(self, plan: StepPlan) -> torch.Tensor:
        """Run one forward pass; return the wanted rows' logits [W, V'] float32; V' is ``step_width``."""
        assert len(plan.tokens) <= self._max_rows, f"{len(plan.tokens)} rows in a step of at most {self._max_rows}"
        logits = torch.empty((len(plan.wanted_rows), self.step_width), dtype=torch.float32)
        width = max(map(len, plan.block_tables))
        tables = array("i")
        for table in plan.block_tables:
            tables.extend(table)
            tables.extend((0,) * (width - len(table)))
        rows = [array("i", one) for one in (plan.tokens, plan.positions, plan.rows_to_sequence)]
        wanted = array("i", plan.wanted_rows)
        addresses = [one.buffer_info()[0] for one in (*rows, tables, wanted)]
        counts = (len(plan.tokens), width, len(plan.wanted_rows))
        self._step(self._model, ctypes.byref(structures.Step(*counts, *addresses, logits.data_ptr())))
        if self._failed:
            raise self._failed.pop()
        return logits

    def draw(self, draws: structures.Draws) -> None:
        """Draw tokens from logits as wide as ``step``'s; sampling.py fills the structure and reads the results."""
        self._draw(self._model, ctypes.byref(draws))

    def _reducer(self, all_reduce: AllReduce) -> Any:
        """Return what C++ calls to sum over the ranks. An exception can't cross C++; it is raised after the step."""

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
