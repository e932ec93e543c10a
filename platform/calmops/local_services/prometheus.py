"""Prometheus on this machine's loopback, and the settings that make it scrape calmops and tell Alertmanager."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calmops.local_services.prometheus_programs import program
from calmops.local_services.web_server import LocalServer, Settings

RULES = "rules.yaml"
KEPT = "40d"  # a budget looks back over 30 days
KEPT_BYTES = "2GB"


class LocalPrometheus(LocalServer):
    """Reads the metrics and evaluates the rules."""

    def __init__(self, tools: Path, folder: Path, port: int) -> None:
        """``tools``: where prometheus_programs.install put the programs."""
        super().__init__("prometheus", folder, port)
        self._tools = tools

    def start(self, settings: Settings, *options: str) -> None:
        """Start it, or have the running one read its settings anew; returns once it is ready. Raises SetupError with what to do."""
        program_path = str(program(self._tools, "prometheus"))
        self.run(
            settings,
            [program_path, "--storage.tsdb.path=data", "--enable-feature=exemplar-storage", *(options or _kept())],
        )


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
