"""Watch whether the machine itself stood still while a proof ran: that may be why a time limit was missed."""

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

TICK_S = 0.05
STEAL = 8  # /proc/stat: cpu user nice system idle iowait irq softirq steal ...


class MachineWatch:
    """Wakes every 50 ms and remembers how late at most; also how much of the cores' time the hypervisor took."""

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

    def summary(self) -> str:
        """Return both in one sentence."""
        stolen, everything = (now - then for now, then in zip(cores_time(), self._began, strict=True))
        share = f"{100 * stolen / max(1, everything):.0f} % of the cores' time was stolen"
        return f"the runner woke up to {self._latest_s:.1f} s late, {share}"


def cores_time() -> tuple[int, int]:
    """Return (stolen, all) time of all cores since the machine started, in ticks."""
    first_line = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    ticks = [int(field) for field in first_line.split()[1:]]
    return ticks[STEAL - 1], sum(ticks[:STEAL])
