"""The command line takes an operator's token from one line of a file, wherever the file is named."""

from pathlib import Path

import pytest

from calmops.cli.client import Server, Target, connect
from calmops.foundation import config
from calmops.foundation.config_sections import ADMIN_TOKEN_VARIABLE
from calmops.foundation.errors import ConfigError


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in (config.CONFIG_VARIABLE, ADMIN_TOKEN_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("CALMOPS_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def authorization(server: Server) -> str | None:
    return server.http.headers.get("authorization")


def test_a_token_file_counts_by_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("  s3cret \na remark\n")
    assert authorization(connect(Target(token_file=tmp_path / "token"))) == "Bearer s3cret"


def test_a_token_file_of_the_command_line_goes_before_the_configured_one(tmp_path: Path) -> None:
    (tmp_path / "calmops.yaml").write_text("http: {admin_token_file: configured}")
    (tmp_path / "configured").write_text("configured\nanother line\n")
    (tmp_path / "given").write_text("given\n")
    assert authorization(connect(Target())) == "Bearer configured"
    assert authorization(connect(Target(token_file=tmp_path / "given"))) == "Bearer given"


def test_without_a_token_none_is_sent() -> None:
    assert authorization(connect(Target())) is None


def test_a_token_file_that_is_empty_or_gone_is_refused_under_its_option(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--token-file: can't read .*nowhere: No such file"):
        connect(Target(token_file=tmp_path / "nowhere"))
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ConfigError, match=r"--token-file: .*empty is empty; write the secret on its first line"):
        connect(Target(token_file=tmp_path / "empty"))
