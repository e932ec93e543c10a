"""A folder of one's own, and what it takes from the one that ships."""

import shutil
from pathlib import Path

import pytest

from calmops.foundation.errors import ConfigError
from calmops.objectives.promises_folder import read_folder, shipped


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """One with a single objective."""
    (tmp_path / "objectives").mkdir()
    shutil.copy(shipped() / "objectives" / "request-success.yaml", tmp_path / "objectives")
    return tmp_path


def test_what_it_lacks_is_what_ships(own: Path) -> None:
    found, ships = read_folder(own), read_folder()
    assert [one.name for one in found.promises.objectives] == ["request-success"]
    assert (found.promises.windows, found.promises.announced) == (ships.promises.windows, ships.promises.announced)
    assert found.links.annotations("RequestsFailing") == ships.links.annotations("RequestsFailing")


def test_its_runbooks_lie_where_it_says_and_otherwise_nowhere_in_particular(own: Path) -> None:
    assert read_folder().promises.runbooks is None
    assert read_folder(own).promises.runbooks is None
    (own / "links.yaml").write_text(
        "runbooks: https://wiki.example/runbooks/\ndashboards: https://grafana.example/d\n", encoding="utf-8"
    )
    assert read_folder(own).promises.runbooks == "https://wiki.example/runbooks"


def test_one_without_objectives_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no folder objectives/"):
        read_folder(tmp_path)
