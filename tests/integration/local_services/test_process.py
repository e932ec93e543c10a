"""Programs that outlive who started them: found, stopped and killed by whoever comes."""

import sys
import time
from pathlib import Path

import psutil

from calmops.local_services.process import LocalProcess

SLEEPS = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_another_stops_it_though_its_parent_never_asks_how_it_ended(tmp_path: Path) -> None:
    starter, other = LocalProcess("sleeper", tmp_path, []), LocalProcess("sleeper", tmp_path, [])
    starter.start(SLEEPS, lambda: True, 10.0)
    pid = starter.pid
    assert pid is not None
    assert other.pid == pid
    began_s = time.monotonic()
    assert other.kill()
    assert time.monotonic() - began_s < 2.0
    assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert (starter.pid, other.kill()) == (None, False)


def test_one_that_heeds_no_word_is_ended_by_force(tmp_path: Path) -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    starter, other = LocalProcess("deaf", tmp_path, []), LocalProcess("deaf", tmp_path, [])
    starter.start(
        [sys.executable, "-c", deaf], lambda: "deaf" in (tmp_path / "deaf.log").read_text(encoding="utf-8"), 10.0
    )
    assert other.stop(timeout_s=0.5)
    assert starter.pid is None
