"""Alertmanager on this machine's loopback."""

from pathlib import Path

from calmops.local_services.prometheus_programs import program
from calmops.local_services.web_server import LocalServer, Settings


class LocalAlertmanager(LocalServer):
    """Tells people."""

    def __init__(self, tools: Path, folder: Path, port: int) -> None:
        """``tools``: where prometheus_programs.install put the programs."""
        super().__init__("alertmanager", folder, port)
        self._tools = tools

    def start(self, settings: Settings) -> None:
        """Start it, or have the running one read its settings anew; returns once it is ready. Raises SetupError with what to do."""
        self.run(
            settings, [str(program(self._tools, "alertmanager")), "--storage.path=data", "--cluster.listen-address="]
        )
