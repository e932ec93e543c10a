"""Files of ended processes are deleted; files of living ones stay."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from calmops.foundation.retention import claim, forget, lives

HOLDS = (
    "import sys; from calmops.foundation.retention import claim; "
    "claim('other'); print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("CALMOPS_HOME", str(tmp_path_factory.mktemp("home")))


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def write_files(folder: Path, *names: str) -> None:
    """Write 100 bytes into each file; each is an hour older than the one before."""
    for age, name in enumerate(names):
        (folder / name).write_bytes(b"x" * 100)
        os.utime(folder / name, (time.time() - 3600 * age,) * 2)


def test_the_oldest_files_are_deleted_until_the_rest_fits(tmp_path: Path) -> None:
    write_files(tmp_path, "new", "old", "oldest")
    for _ in range(2):
        forget(tmp_path.glob("*"), lambda file: file.name, 250)
        assert files(tmp_path) == {"new", "old"}


def test_a_file_that_is_too_old_is_deleted_however_small(tmp_path: Path) -> None:
    write_files(tmp_path, "new", "old", "oldest")
    forget(tmp_path.glob("*"), lambda file: file.name, 10_000, most_age_s=5400)
    assert files(tmp_path) == {"new", "old"}


def test_the_file_of_a_living_process_stays(tmp_path: Path) -> None:
    write_files(tmp_path, "new", "other", "mine")
    holder = subprocess.Popen([sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    claim("mine")
    forget(tmp_path.glob("*"), lambda file: file.name, 0)
    assert files(tmp_path) == {"other", "mine"}
    assert lives("other")
    holder.kill()
    holder.communicate()
    assert not lives("other")
    forget(tmp_path.glob("*"), lambda file: file.name, 0)
    assert files(tmp_path) == {"mine"}
