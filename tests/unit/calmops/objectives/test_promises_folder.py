"""Shows how a folder of one's own is read, and what it takes from the one that ships."""

import shutil
from pathlib import Path

import pytest

from calmops.foundation.errors import ConfigError
from calmops.objectives.promises_folder import read_folder, shipped


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Provides a folder with a single objective."""
    (tmp_path / "objectives").mkdir()
    shutil.copy(shipped() / "objectives" / "request-success.yaml", tmp_path / "objectives")
    return tmp_path


def test_a_file_that_it_lacks_is_the_one_that_ships(own: Path) -> None:
    folder, default = read_folder(own), read_folder()
    assert [one.name for one in folder.promises.objectives] == ["request-success"]
    assert folder.promises.windows == default.promises.windows
    assert folder.promises.announced == default.promises.announced
    assert folder.links.annotations("RequestsFailing") == default.links.annotations("RequestsFailing")


def test_only_a_links_file_of_its_own_gives_runbooks_an_address(own: Path) -> None:
    assert read_folder().promises.runbooks is None
    assert read_folder(own).promises.runbooks is None
    (own / "links.yaml").write_text(
        "runbooks: https://wiki.example/runbooks/\ndashboards: https://grafana.example/d\n", encoding="utf-8"
    )
    assert read_folder(own).promises.runbooks == "https://wiki.example/runbooks"


def test_a_folder_without_objectives_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no folder objectives/"):
        read_folder(tmp_path)
