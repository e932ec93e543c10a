"""The wrapper that stands in for HAProxy rewrites its configuration, and starts nothing that it couldn't harden."""

import subprocess
from pathlib import Path

import pytest

from actors.cluster.haproxy import private_folder, write_wrapper
from calmops.foundation.errors import SetupError

GENERATED = """global
    stats socket /tmp/x/admin.sock mode 666 level admin expose-fd listeners
frontend prometheus
    bind :9101
frontend http_frontend
    bind 127.0.0.1:8000
listen stats
  bind *:8404
"""


def run_wrapper(folder: Path, generated: str) -> "subprocess.CompletedProcess[str]":
    config = folder / "haproxy.cfg"
    config.write_text(generated)
    wrapper = write_wrapper(folder, "/bin/echo")
    return subprocess.run([wrapper, "-db", "-f", config, "-sf", "12"], capture_output=True, text=True, check=False)


def test_statistics_and_metrics_move_to_loopback_and_the_socket_becomes_private(tmp_path: Path) -> None:
    ran = run_wrapper(tmp_path, GENERATED)
    hardened = (tmp_path / "haproxy.cfg").read_text()
    assert ran.returncode == 0
    assert ran.stdout.split() == ["-db", "-f", str(tmp_path / "haproxy.cfg"), "-sf", "12"]
    assert "bind 127.0.0.1:9101" in hardened
    assert "bind 127.0.0.1:8404" in hardened
    assert "bind 127.0.0.1:8000" in hardened
    assert "mode 600 level admin" in hardened
    assert "666" not in hardened


@pytest.mark.parametrize("line", ["    bind *:8404 ssl crt /x", "    stats socket ipv4@:9 mode 666 mode 666"])
def test_a_configuration_that_stays_open_is_not_started(tmp_path: Path, line: str) -> None:
    ran = run_wrapper(tmp_path, GENERATED + line + "\n")
    assert ran.returncode == 78
    assert "could not harden" in ran.stderr
    assert ran.stdout == ""


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    folder = private_folder(tmp_path)
    assert private_folder(tmp_path) == folder
    folder.chmod(0o755)
    with pytest.raises(SetupError, match="mode 700"):
        private_folder(tmp_path)
