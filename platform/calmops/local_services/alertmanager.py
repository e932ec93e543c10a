"""This module runs Alertmanager on this machine's loopback."""

from pathlib import Path

from calmops.local_services.prometheus_programs import program
from calmops.local_services.web_server import LocalServer, Settings


class LocalAlertmanager(LocalServer):
    """Runs the Alertmanager, which notifies people."""

    def __init__(self, tools: Path, folder: Path, port: int) -> None:
        """Take the program from ``tools``, the folder that prometheus_programs.install filled."""
        super().__init__("alertmanager", folder, port)
        self._tools = tools

    def start(self, settings: Settings) -> None:
        """Start it, or make the running one read new settings; return once it is ready. Raises SetupError."""
        self.run(
            settings, [str(program(self._tools, "alertmanager")), "--storage.path=data", "--cluster.listen-address="]
        )
