"""What a node says of itself: kills for want of memory, and its GPUs, if it has any. Read by rank 0 of each gang there."""

import threading
from pathlib import Path

import pynvml

from calmops.messages.roster import GpuFacts, NodeFacts

EVERY_S = 2.0
VMSTAT = Path("/proc/vmstat")


class NodeReader:
    """Reads them every two seconds, on a thread of its own: a driver that hangs keeps nobody waiting. ``facts``: the latest."""

    def __init__(self) -> None:
        self.facts = NodeFacts()
        self._leaving = threading.Event()
        threading.Thread(target=self._read_often, name="node-facts", daemon=True).start()

    def close(self) -> None:
        """Read no more."""
        self._leaving.set()

    def _read_often(self) -> None:
        handles = _handles()
        while not self._leaving.is_set():
            gpus = tuple(gpu for index, handle in enumerate(handles) if (gpu := _gpu(index, handle)) is not None)
            self.facts = NodeFacts(oom_kills=oom_kills(VMSTAT), gpus=gpus)
            self._leaving.wait(EVERY_S)


def oom_kills(vmstat: Path) -> int | None:
    """Processes that the kernel killed for want of memory."""
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
    """Every GPU of the node; none without NVIDIA's driver."""
    try:
        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []


def _gpu(index: int, handle: object) -> GpuFacts | None:
    try:
        memory, rates = pynvml.nvmlDeviceGetMemoryInfo(handle), pynvml.nvmlDeviceGetUtilizationRates(handle)
    except pynvml.NVMLError:  # lost, or not to be asked: it is left out, not shown as idle
        return None
    return GpuFacts(index=index, memory_used_bytes=memory.used, memory_total_bytes=memory.total, busy=rates.gpu / 100)
