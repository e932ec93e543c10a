"""A server on loopback that reads a configuration file and reads it again on SIGHUP: what Prometheus and Alertmanager share."""

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

Settings = Mapping[str, Any]  # of a configuration file


class LocalServer:
    """One such server. Its configuration, data, log and pid lie in ``folder``."""

    def __init__(self, name: str, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._name = name
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

    def run(self, settings: Settings, command: Sequence[str]) -> None:
        """Start it with these settings, or have the running one read them. Raises SetupError where it doesn't take them."""
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
        """Have it read its settings and rules anew. A refusal shows only in its metrics: it goes on with the old ones."""
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
            f"the running {self._name} has not taken its new settings within {RELOAD_S:g} s and goes on with the old ones; "
            f"correct what its log ({log}) names, or end it with `calmops down`: {said}"
        )

    def _loaded_s(self) -> float:
        """When it last took its settings, Unix s; 0 if it doesn't say."""
        _, text = self._get("/metrics")
        found = re.search(rf"^{self._name}_config_last_reload_success_timestamp_seconds (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def _is_ready(self) -> bool:
        return self._get(READY)[0] == HTTPStatus.OK

    def _get(self, path: str) -> tuple[int, str]:
        """The status and the text of its answer; 0 if there is none."""
        asked = HTTPConnection("127.0.0.1", self.port, timeout=2.0)
        try:
            asked.request("GET", path)
            answer = asked.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        except (OSError, HTTPException):
            return 0, ""
        finally:
            asked.close()
