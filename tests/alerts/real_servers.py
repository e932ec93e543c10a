"""Real Prometheus and Alertmanager on loopback, for tests. Prometheus can be given a past, and what rules recorded in it."""

import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from calmops.foundation import paths
from calmops.foundation.ports import free_port
from calmops.objectives.local_prometheus import install, program
from calmops.objectives.recording import Rule

PARTS = paths.home() / "parts" / "prometheus"
START_S = 60.0


class Server:
    """One program that listens on loopback, with its files in ``folder``."""

    def __init__(self, folder: Path, ready: str) -> None:
        install(PARTS)
        self.folder, self.port, self._ready = folder, free_port(), ready
        (folder / "data").mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def runs(self) -> bool:
        """Whether it was started."""
        return self._process is not None

    def launch(self, command: list[str]) -> None:
        """Start it; returns when it is ready."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end_s = time.monotonic() + START_S
        while time.monotonic() < end_s:
            assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            try:
                if httpx.get(f"{self.url}{self._ready}", timeout=2.0).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"{command[0]} wasn't ready after {START_S:g} s")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None


class RealAlertmanager(Server):
    """``settings``: of its configuration file."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        super().__init__(folder, "/-/ready")
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")

    def start(self) -> None:
        """Start it; returns when it is ready."""
        self.launch([
            str(program(PARTS, "alertmanager")), "--config.file=alertmanager.yml", "--storage.path=data",
            f"--web.listen-address=127.0.0.1:{self.port}", "--cluster.listen-address=",
        ])  # fmt: skip


class RealPrometheus(Server):
    """``options``: of its command line; ``settings``: of its configuration file."""

    def __init__(self, folder: Path, *options: str, settings: dict[str, Any] | None = None) -> None:
        super().__init__(folder, "/-/ready")
        self._options = options
        (folder / "prometheus.yml").write_text(yaml.safe_dump(settings or {}), encoding="utf-8")

    def start(self) -> None:
        """Start it; returns when it is ready."""
        self.launch([
            str(program(PARTS, "prometheus")), "--config.file=prometheus.yml", "--storage.tsdb.path=data",
            f"--web.listen-address=127.0.0.1:{self.port}", "--storage.tsdb.retention.time=10y",
            "--query.max-samples=500000000", "--query.timeout=10m", *self._options,
        ])  # fmt: skip

    def fill(self, lines: Iterable[str]) -> None:
        """Give it a past, as OpenMetrics text with times; only while it doesn't run."""
        assert not self.runs
        past = self.folder / "past.txt"
        with past.open("w", encoding="utf-8") as written:
            written.writelines(f"{line}\n" for line in lines)
            written.write("# EOF\n")
        _promtool(self.folder, "tsdb", "create-blocks-from", "openmetrics", "past.txt", "data")
        past.unlink()

    def record(self, rules: list[Rule], start_s: int, end_s: int, every_s: int) -> None:
        """What recording rules would have recorded in its past; it runs before and after."""
        (self.folder / "rules.yml").write_text(
            yaml.safe_dump({"groups": [{"name": "past", "interval": f"{every_s}s", "rules": rules}]}), encoding="utf-8"
        )
        _promtool(
            self.folder, "tsdb", "create-blocks-from", "rules", f"--start={start_s}", f"--end={end_s}",
            f"--eval-interval={every_s}s", f"--url={self.url}", "--output-dir=data", "rules.yml",
        )  # fmt: skip
        self.stop()
        self.start()

    def recorded(self, series: str, start_s: float, end_s: float) -> list[float]:
        """The times at which something was recorded."""
        answer = httpx.post(
            f"{self.url}/api/v1/query", data={"query": f"{series}[{end_s - start_s:.0f}s]", "time": end_s}, timeout=60.0
        ).json()
        return sorted({float(at_s) for one in answer["data"]["result"] for at_s, _ in one["values"]})

    def over(self, expression: str, start_s: float, end_s: float, every_s: int) -> Iterator[tuple[dict[str, str], list[tuple[float, float]]]]:
        """A query over a span: each series' labels, and its values by time."""
        answer = httpx.post(
            f"{self.url}/api/v1/query_range", timeout=600.0,
            data={"query": expression, "start": start_s, "end": end_s, "step": every_s},
        ).json()  # fmt: skip
        assert answer["status"] == "success", answer
        for series in answer["data"]["result"]:
            yield series["metric"], [(float(at_s), float(value)) for at_s, value in series["values"]]


def promtool(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run it in a folder; whatever it says."""
    install(PARTS)
    return subprocess.run(
        [str(program(PARTS, "promtool")), *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=900
    )


def _promtool(folder: Path, *arguments: str) -> None:
    done = promtool(folder, *arguments)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
