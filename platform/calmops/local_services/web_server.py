"""Prometheus and Alertmanager share this: a server on loopback that reads its configuration file again on SIGHUP."""

import os
import re
import signal
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import yaml

from calmops.foundation.errors import SetupError
from calmops.local_services.process import LOG_TAIL, POLL_S, LocalProcess

START_S = 60.0
RELOAD_S = 10.0
READY = "/-/ready"

Settings = Mapping[str, Any]  # contents of a configuration file


class LocalServer:
    """Runs one such server. Its configuration, data, log and pid lie in ``folder``."""

    def __init__(self, name: str, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._name = name
        self._process = LocalProcess(name, folder, [port])

    @property
    def url(self) -> str:
        """Return the address at which the server answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Return the pid of the running server; None if it doesn't run."""
        return self._process.pid

    def stop(self) -> bool:
        """End the server. Return whether it was running."""
        return self._process.stop()

    def run(self, settings: Settings, command: Sequence[str]) -> None:
        """Start the server with these settings, or make the running one read them; SetupError if it refuses them."""
        (self.folder / "data").mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.folder / "settings.yaml").write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")
        running = self._process.pid
        if running is not None:
            self._reload(running)
        self._process.start(
            [*command, "--config.file=settings.yaml", f"--web.listen-address=127.0.0.1:{self.port}"],
            self._is_ready,
            START_S,
        )

    def _reload(self, running: int) -> None:
        """Make it read its settings and rules again. Only its metrics show a refusal: it goes on with the old ones."""
        asked_s = time.time()
        os.kill(running, signal.SIGHUP)
        end_s = time.monotonic() + RELOAD_S
        while time.monotonic() < end_s:
            if self._loaded_s() >= asked_s:
                return
            time.sleep(POLL_S)
        log = self.folder / f"{self._name}.log"
        said = log.read_text("utf-8", "replace")[-LOG_TAIL:].strip() if log.is_file() else ""
        raise SetupError(
            f"the running {self._name} has not taken its new settings within {RELOAD_S:g} s and goes on with the old "
            f"ones; correct what its log ({log}) names, or end it with `calmops down`: {said}"
        )

    def _loaded_s(self) -> float:
        """Return when it last took its settings, in Unix seconds; 0 if it doesn't say."""
        _, text = self._get("/metrics")
        match = re.search(rf"^{self._name}_config_last_reload_success_timestamp_seconds (\S+)$", text, re.MULTILINE)
        return float(match[1]) if match else 0.0

    def _is_ready(self) -> bool:
        return self._get(READY)[0] == HTTPStatus.OK

    def _get(self, path: str) -> tuple[int, str]:
        """Return the status and the text of its answer; status 0 if there is none."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=2.0)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        except (OSError, HTTPException):
            return 0, ""
        finally:
            connection.close()
