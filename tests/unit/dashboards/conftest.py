"""A fake Grafana, the command line pointed at it, and a folder of promises of one's own."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from calmops.cli import main as main_module
from tests.support.grafana.fake_grafana import ADMIN, FakeGrafana
from tests.support.grafana.typed_pushes import SHIPPED, Point, Run, Said


@pytest.fixture
def grafana() -> Iterator[FakeGrafana]:
    fake = FakeGrafana()
    yield fake
    fake.close()


@pytest.fixture
def run(grafana: FakeGrafana, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr(main_module, "entry_points", lambda **_: [Point])
    monkeypatch.setenv("GRAFANA_URL", grafana.url)
    monkeypatch.setenv("GRAFANA_TOKEN", ADMIN)

    def call(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["calmops", *arguments])
        with pytest.raises(SystemExit) as ended:
            main_module.main()
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(SHIPPED, tmp_path / "own", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return tmp_path / "own"
