"""Provides a fake Grafana, the command line pointed at it, and a folder of promises to change."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from calmops.cli import main as main_module
from tests.support.grafana.fake_grafana import ADMIN, FakeGrafana
from tests.support.grafana.typed_pushes import SHIPPED, EntryPoint, Output, Run


@pytest.fixture
def grafana() -> Iterator[FakeGrafana]:
    fake = FakeGrafana()
    yield fake
    fake.close()


@pytest.fixture
def run(grafana: FakeGrafana, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr(main_module, "entry_points", lambda **_: [EntryPoint])
    monkeypatch.setenv("GRAFANA_URL", grafana.url)
    monkeypatch.setenv("GRAFANA_TOKEN", ADMIN)

    def call(*arguments: str) -> Output:
        monkeypatch.setattr(sys, "argv", ["calmops", *arguments])
        with pytest.raises(SystemExit) as exit_info:
            main_module.main()
        printed = capsys.readouterr()
        return Output(int(exit_info.value.code or 0), printed.out, printed.err)

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(SHIPPED, tmp_path / "own", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return tmp_path / "own"
