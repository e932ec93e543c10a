"""`calmops up` marks its deploys in Grafana, and no Grafana makes it fail."""

import socket
from pathlib import Path

import pytest

from actors import commands
from actors.commands import _mark
from calmops.foundation.config_sections import GrafanaConfig
from tests.support.grafana.fake_grafana import EDITOR, FakeGrafana


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what `calmops up` says; a busy machine takes its time to start the command."""
    monkeypatch.setattr(commands, "MARK_S", 600.0)
    return []


def test_a_deploy_is_marked_with_what_was_deployed(tmp_path: Path, said: list[str]) -> None:
    grafana, token = FakeGrafana(), tmp_path / "token"
    token.write_text(EDITOR)
    _mark(GrafanaConfig(url=grafana.url, token_file=str(token)), "deployed: gateway", said.append)
    grafana.close()
    marks = [(mark["tags"], mark["text"]) for mark in grafana.annotations]
    assert marks == [(["calmops", "deploy"], "deployed: gateway")]
    assert not said


def test_a_grafana_that_isnt_there_is_worth_one_warning(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", EDITOR)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, so nobody else's; not listening, so refused
        _mark(GrafanaConfig(url=f"http://127.0.0.1:{taken.getsockname()[1]}"), "deployed: gateway", said.append)
    assert len(said) == 1
    assert said[0].startswith("warning: the deploy isn't marked")
