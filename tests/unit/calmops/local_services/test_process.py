"""A pid file names one process for ever, also one that version 0.1 wrote."""

import json
import os
from pathlib import Path

import psutil
import pytest

from calmops.foundation.live_process import started_ticks
from calmops.local_services.process import LocalProcess


def pid_file(folder: Path, **values: float) -> LocalProcess:
    (folder / "pid").write_text(json.dumps(values))
    return LocalProcess("sleeper", folder, [])


def test_a_pid_that_another_process_has_since_is_not_ours(tmp_path: Path) -> None:
    ticks = started_ticks(os.getpid())
    assert ticks is not None
    assert pid_file(tmp_path, pid=os.getpid(), started_ticks=ticks).pid == os.getpid()
    assert pid_file(tmp_path, pid=os.getpid(), started_ticks=ticks - 1).pid is None


@pytest.mark.parametrize(("late_s", "ours"), [(0.04, True), (-0.04, True), (0.06, False), (-0.06, False)])
def test_a_pid_file_of_version_0_1_allows_a_twentieth_of_a_second(late_s: float, ours: bool, tmp_path: Path) -> None:
    created_s = psutil.Process().create_time() + late_s
    assert pid_file(tmp_path, pid=os.getpid(), created_s=created_s).pid == (os.getpid() if ours else None)


@pytest.mark.parametrize("text", ["", "{}", '{"pid": 1', '{"pid": 4194305, "started_ticks": 1}', '{"pid": 1}'])
def test_a_pid_file_that_names_no_living_process_means_that_nothing_runs(text: str, tmp_path: Path) -> None:
    (tmp_path / "pid").write_text(text)
    program = LocalProcess("sleeper", tmp_path, [])
    assert (program.pid, program.stop(), program.kill()) == (None, False, False)
