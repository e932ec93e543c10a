"""This module runs Prometheus on this machine's loopback, and makes the settings with which it scrapes calmops."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calmops.local_services.prometheus_programs import program
from calmops.local_services.web_server import LocalServer, Settings

RULES = "rules.yaml"
KEPT = "40d"  # an error budget covers 30 days
KEPT_BYTES = "2GB"


class LocalPrometheus(LocalServer):
    """Runs the Prometheus that reads the metrics and evaluates the rules."""

    def __init__(self, tools: Path, folder: Path, port: int) -> None:
        """Take the program from ``tools``, the folder that prometheus_programs.install filled."""
        super().__init__("prometheus", folder, port)
        self._tools = tools

    def start(self, settings: Settings, *options: str) -> None:
        """Start it, or make the running one read new settings; return once it is ready. Raises SetupError."""
        program_path = str(program(self._tools, "prometheus"))
        self.run(
            settings,
            [program_path, "--storage.tsdb.path=data", "--enable-feature=exemplar-storage", *(options or _kept())],
        )


def scraping(targets: Sequence[str], alertmanager: str, every_s: int) -> dict[str, Any]:
    """Return settings that read every target (host:port) and evaluate the rules, both every ``every_s`` seconds.

    Alerts go to ``alertmanager`` (host:port). The rules lie in the file RULES beside the settings.
    """
    each = f"{every_s}s"
    return {
        "global": {"scrape_interval": each, "evaluation_interval": each, "scrape_timeout": each},
        "rule_files": [RULES],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [{"job_name": "calmops", "static_configs": [{"targets": list(targets)}]}],
    }


def _kept() -> list[str]:
    return [f"--storage.tsdb.retention.time={KEPT}", f"--storage.tsdb.retention.size={KEPT_BYTES}"]
