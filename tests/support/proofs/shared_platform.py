"""Run one platform for all proofs that want one, started for the first of them and ended with the run.

There are two kinds, each with two exact gangs of two ranks: ``platform``, and ``observed``, which has a Kafka broker
and everything that records, traces and shows. Its state is in a folder of its own, so that a platform that a person
has running is left alone; what was compiled and downloaded is shared with the person's folder.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from calmops.foundation import paths
from calmops.foundation.errors import CalmopsError
from calmops.foundation.ports import free_port
from calmops.local_services.kafka import LocalKafka

ROOT = Path(__file__).resolve().parents[3]
OBSERVED = "observed"
KINDS = {"platform": "platform.yaml", OBSERVED: "observed.yaml"}
PRICES = "currency: EUR\nprices:\n  - {on_demand_per_hour: 1.5}\n"
CALMOPS = [sys.executable, "-m", "calmops.cli.main"]
UP_TIMEOUT_S = 600
DOWN_TIMEOUT_S = 120
SHARED = ("build", "tools")


class SharedPlatform:
    """Starts the platform of one kind on demand, at most once."""

    def __init__(self, folder: Path, kind: str) -> None:
        """``kind``: one of KINDS."""
        self._home, self._kind = folder / kind, kind
        self._broker: LocalKafka | None = None
        self._traces_port = 0
        self._url: str | None = None
        self._trouble: str | None = None
        self._tried = self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the platform; a later ``start`` doesn't bring it back."""
        if self._tried and not self._ended:
            self._ended = True
            self._command("down", timeout_s=DOWN_TIMEOUT_S)
        if self._broker is not None:
            self._broker.stop()
        self._url, self._broker = None, None

    def start(self) -> str | None:
        """Start the platform at the first call. Return None, or why it doesn't run."""
        if not self._tried:
            self._tried = True
            self._trouble = self._up()
        return self._trouble

    def environment(self) -> dict[str, str]:
        """Return the variables by which a proof finds it."""
        assert self._url is not None, "the platform isn't up"
        variables = {"CALMOPS_PROOF_URL": self._url, "CALMOPS_HOME": str(self._home)}
        if self._broker is not None:
            variables |= {
                "CALMOPS_PROOF_KAFKA": self._broker.bootstrap_servers,
                "CALMOPS_PROOF_TRACES_PORT": str(self._traces_port),
            }
        return variables

    def _up(self) -> str | None:
        self._home.mkdir(mode=0o700)
        for name in SHARED:
            (self._home / name).symlink_to(paths.folder(name))
        config = self._home / "calmops.yaml"
        settings = yaml.safe_load(Path(__file__).with_name(KINDS[self._kind]).read_text(encoding="utf-8"))
        settings.setdefault("http", {})["port"] = free_port()
        if self._kind == OBSERVED:
            try:
                self._observe(settings)
            except CalmopsError as error:
                return f"no broker for the platform: {error}"
        config.write_text(yaml.safe_dump(settings), encoding="utf-8")
        try:
            done = self._command("up", "--config", str(config), "--json", timeout_s=UP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return f"the platform wasn't up after {UP_TIMEOUT_S} s"
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            return f"the platform didn't start (exit {done.returncode}): {said[-1] if said else 'it said nothing'}"
        self._url = str(json.loads(done.stdout.strip().splitlines()[-1])["url"])
        return None

    def _observe(self, settings: dict[str, Any]) -> None:
        """Start a broker, write prices and choose a port for traces."""
        self._traces_port = free_port()
        self._broker = LocalKafka(self._home / "broker", free_port(followers=1))
        self._broker.start()
        (self._home / "prices.yaml").write_text(PRICES, encoding="utf-8")
        settings["kafka"] = {"bootstrap_servers": self._broker.bootstrap_servers}
        settings["tracing"]["endpoint"] = f"http://127.0.0.1:{self._traces_port}/v1/traces"

    def _command(self, *arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        environment = checkout_environment() | {"CALMOPS_HOME": str(self._home)}
        return subprocess.run(
            [*CALMOPS, *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )


def checkout_environment() -> dict[str, str]:
    """Return this process's environment with this checkout first on the path and one compute thread per process."""
    path = f"{ROOT / 'platform'}{os.pathsep}{ROOT}"
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
