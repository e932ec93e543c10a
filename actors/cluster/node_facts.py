"""Reads what a node reports of itself: out-of-memory kills, and its GPUs. Rank 0 of each gang on the node reads it."""

import threading
from pathlib import Path

import pynvml

from calmops.messages.roster import GpuFacts, NodeFacts

EVERY_S = 2.0
VMSTAT = Path("/proc/vmstat")


class NodeReader:
    """Reads the node's facts every EVERY_S on a thread of its own, so that a driver that hangs keeps nobody waiting.

    ``facts`` is the latest reading.
    """

    def __init__(self) -> None:
        self.facts = NodeFacts()
        self._leaving = threading.Event()
        threading.Thread(target=self._read_often, name="node-facts", daemon=True).start()

    def close(self) -> None:
        """Stop reading."""
        self._leaving.set()

    def _read_often(self) -> None:
        handles = _handles()
        while not self._leaving.is_set():
            gpus = tuple(gpu for index, handle in enumerate(handles) if (gpu := _gpu(index, handle)) is not None)
            self.facts = NodeFacts(oom_kills=oom_kills(VMSTAT), gpus=gpus)
            self._leaving.wait(EVERY_S)


def oom_kills(vmstat: Path) -> int | None:
    """Return how many processes the kernel killed for want of memory; None if ``vmstat`` doesn't say."""
    try:
        lines = vmstat.read_text(encoding="ascii").splitlines()
    except OSError:  # some sandboxes have no such file
        return None
    for line in lines:
        name, _, count = line.partition(" ")
        if name == "oom_kill":
            return int(count)
    return None


def _handles() -> list[object]:
    """Return every GPU of the node; none without NVIDIA's driver."""
    try:
        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []


def _gpu(index: int, handle: object) -> GpuFacts | None:
    try:
        memory, rates = pynvml.nvmlDeviceGetMemoryInfo(handle), pynvml.nvmlDeviceGetUtilizationRates(handle)
    except pynvml.NVMLError:  # lost, or it doesn't answer: it is left out, not shown as idle
        return None
    return GpuFacts(index=index, memory_used_bytes=memory.used, memory_total_bytes=memory.total, busy=rates.gpu / 100)
