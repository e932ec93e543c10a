"""Tests how processes are observed: one is alive, stopped or gone, and a later one under its pid is another process."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from calmops.foundation.live_process import is_stopped, lives, started_ticks
from calmops.messages.roster import Member


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    yield process
    process.kill()
    process.wait()


def test_a_living_process_has_a_start_time_and_a_zombie_has_none(sleeper: "subprocess.Popen[bytes]") -> None:
    assert Member.living(1, sleeper.pid).started_ticks == started_ticks(sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert started_ticks(sleeper.pid) is None


def test_a_stopped_process_is_distinguished_from_a_running_one(sleeper: "subprocess.Popen[bytes]") -> None:
    assert not is_stopped(sleeper.pid)
    sleeper.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED | os.WNOWAIT)
    assert is_stopped(sleeper.pid)


def test_a_pid_that_no_process_has_is_neither_alive_nor_stopped() -> None:
    assert started_ticks(2**22 + 1) is None
    assert not lives(2**22 + 1, 1)
    assert not is_stopped(2**22 + 1)
