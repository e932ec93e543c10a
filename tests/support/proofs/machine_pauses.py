"""Whether the machine itself stood still while a proof ran: what a time limit that was missed may come from."""

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

TICK_S = 0.05
STEAL = 8  # /proc/stat: cpu user nice system idle iowait irq softirq steal ...


class MachineWatch:
    """Wakes every 50 ms; ``said`` tells how late at most, and how much of the cores' time the hypervisor took."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._latest_s = 0.0
        self._began = cores_time()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        woken_s = time.monotonic()
        while not self._over.wait(TICK_S):
            now_s = time.monotonic()
            self._latest_s = max(self._latest_s, now_s - woken_s - TICK_S)
            woken_s = now_s

    def said(self) -> str:
        """In words."""
        steal, everything = (now - then for now, then in zip(cores_time(), self._began, strict=True))
        return f"the runner woke up to {self._latest_s:.1f} s late, {100 * steal / max(1, everything):.0f} % of the cores' time was stolen"


def cores_time() -> tuple[int, int]:
    """(stolen, all) of all cores since the start of the machine, ticks."""
    ticks = [int(one) for one in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]]
    return ticks[STEAL - 1], sum(ticks[:STEAL])
