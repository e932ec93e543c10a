"""Prometheus and Alertmanager on this machine's loopback, wired to each other, for tests, until `up` starts them too."""

import os
import signal
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import yaml

from calmops.foundation.local_process import LocalProcess
from calmops.objectives.local_prometheus import program

START_S = 60.0
READY = "/-/ready"
RULES = "rules.yaml"
KEPT = "40d"  # a budget looks back over 30 days
KEPT_BYTES = "2GB"

Settings = Mapping[str, Any]  # of a configuration file


class LocalServer:
    """One of the two. Its configuration, data, log and pid lie in ``folder``."""

    def __init__(self, name: str, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._process = LocalProcess(name, folder, [port])

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Of the running server; None if there is none."""
        return self._process.pid

    def stop(self) -> bool:
        """End it; True if it was running."""
        return self._process.stop()

    def _start(self, settings: Settings, command: Sequence[str]) -> None:
        """Start it with these settings, or have the running one read them."""
        (self.folder / "data").mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.folder / "settings.yaml").write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")
        running = self._process.pid
        if running is not None:
            os.kill(running, signal.SIGHUP)  # both read their settings and rules anew
        self._process.start([*command, "--config.file=settings.yaml", f"--web.listen-address=127.0.0.1:{self.port}"], self._is_ready, START_S)

    def _is_ready(self) -> bool:
        asked = HTTPConnection("127.0.0.1", self.port, timeout=2.0)
        try:
            asked.request("GET", READY)
            return asked.getresponse().status == HTTPStatus.OK
        except (OSError, HTTPException):
            return False
        finally:
            asked.close()


class LocalAlertmanager(LocalServer):
    """Tells people."""

    def __init__(self, parts: Path, folder: Path, port: int) -> None:
        """``parts``: where local_prometheus.install put the programs."""
        super().__init__("alertmanager", folder, port)
        self._parts = parts

    def start(self, settings: Settings) -> None:
        """Start it, or leave it running; returns once it is ready. Raises SetupError with what to do."""
        self._start(settings, [str(program(self._parts, "alertmanager")), "--storage.path=data", "--cluster.listen-address="])


class LocalPrometheus(LocalServer):
    """Reads the metrics and evaluates the rules."""

    def __init__(self, parts: Path, folder: Path, port: int) -> None:
        """``parts``: where local_prometheus.install put the programs."""
        super().__init__("prometheus", folder, port)
        self._parts = parts

    def start(self, settings: Settings, *options: str) -> None:
        """Start it, or leave it running; returns once it is ready. Raises SetupError with what to do."""
        program_path = str(program(self._parts, "prometheus"))
        self._start(settings, [program_path, "--storage.tsdb.path=data", "--enable-feature=exemplar-storage", *(options or _kept())])


def scraping(targets: Sequence[str], alertmanager: str, every_s: int) -> dict[str, Any]:
    """Prometheus' settings: read every target (host:port) so often, evaluate the rules beside them, tell that Alertmanager."""
    each = f"{every_s}s"
    return {
        "global": {"scrape_interval": each, "evaluation_interval": each, "scrape_timeout": each},
        "rule_files": [RULES],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [{"job_name": "calmops", "static_configs": [{"targets": list(targets)}]}],
    }


def _kept() -> list[str]:
    return [f"--storage.tsdb.retention.time={KEPT}", f"--storage.tsdb.retention.size={KEPT_BYTES}"]
