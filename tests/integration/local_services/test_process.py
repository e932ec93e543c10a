"""Starts programs that outlive the process that started them; another object finds, stops and kills them."""

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil

from calmops.foundation.live_process import started_ticks
from calmops.local_services.process import LocalProcess

SLEEPS = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_another_object_kills_a_program_whose_parent_never_waits_for_it(tmp_path: Path) -> None:
    starter, other = LocalProcess("sleeper", tmp_path, []), LocalProcess("sleeper", tmp_path, [])
    starter.start(SLEEPS, lambda: True, 10.0)
    pid = starter.pid
    assert pid is not None
    assert json.loads((tmp_path / "pid").read_bytes()) == {"pid": pid, "started_ticks": started_ticks(pid)}
    assert other.pid == pid
    began_s = time.monotonic()
    assert other.kill()
    assert time.monotonic() - began_s < 2.0
    assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert (starter.pid, other.kill()) == (None, False)


def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    starter, other = LocalProcess("deaf", tmp_path, []), LocalProcess("deaf", tmp_path, [])
    starter.start(
        [sys.executable, "-c", program], lambda: "deaf" in (tmp_path / "deaf.log").read_text(encoding="utf-8"), 10.0
    )
    assert other.stop(timeout_s=0.5)
    assert starter.pid is None


def test_a_program_that_version_0_1_started_is_known_and_stopped(tmp_path: Path) -> None:
    sleeper = subprocess.Popen(SLEEPS)
    try:
        noted = {"pid": sleeper.pid, "created_s": psutil.Process(sleeper.pid).create_time()}
        (tmp_path / "pid").write_text(json.dumps(noted))
        program = LocalProcess("sleeper", tmp_path, [])
        assert program.pid == sleeper.pid
        assert program.stop()
        assert not (tmp_path / "pid").exists()
    finally:
        sleeper.kill()
        sleeper.wait()
