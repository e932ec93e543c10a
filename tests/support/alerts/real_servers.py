"""Runs a real Prometheus and Alertmanager on loopback, for tests. Prometheus can get a past with recorded series."""

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from calmops.foundation import paths
from calmops.foundation.ports import free_port
from calmops.local_services.alertmanager import LocalAlertmanager
from calmops.local_services.prometheus import RULES, LocalPrometheus
from calmops.local_services.prometheus_programs import install, program
from calmops.objectives.rules.recording_rules import Rule

TOOLS = paths.folder("tools") / "prometheus"
OPTIONS = ("--storage.tsdb.retention.time=10y", "--query.max-samples=500000000", "--query.timeout=10m")


def alertmanager(folder: Path) -> LocalAlertmanager:
    """Return an Alertmanager that isn't started yet."""
    install(TOOLS)
    return LocalAlertmanager(TOOLS, folder, free_port())


class RealPrometheus:
    """Runs a Prometheus. ``options`` go to its command line, ``settings`` into its configuration file."""

    def __init__(self, folder: Path, *options: str, settings: Mapping[str, Any] | None = None) -> None:
        install(TOOLS)
        self.folder = folder
        self._server = LocalPrometheus(TOOLS, folder, free_port())
        self._options, self._settings = (*OPTIONS, *options), settings or {}
        (folder / "data").mkdir(parents=True)

    @property
    def url(self) -> str:
        """Return the address at which it answers."""
        return self._server.url

    def start(self) -> None:
        """Start it and return once it is ready."""
        self._server.start(self._settings, *self._options)

    def stop(self) -> None:
        """Stop it."""
        self._server.stop()

    def give_rules(self, groups: Mapping[str, Any]) -> None:
        """Write the rule file that its settings name."""
        (self.folder / RULES).write_text(yaml.safe_dump(dict(groups)), encoding="utf-8")

    def fill(self, lines: Iterable[str]) -> None:
        """Give it a past, as OpenMetrics text with times; it must not run."""
        assert self._server.pid is None
        past = self.folder / "past.txt"
        with past.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.write("# EOF\n")
        _promtool(self.folder, "tsdb", "create-blocks-from", "openmetrics", "past.txt", "data")
        past.unlink()

    def record(self, rules: list[Rule], start_s: int, end_s: int, every_s: int) -> None:
        """Add what recording rules would have recorded in its past; it must run, and runs again afterwards."""
        self.give_rules({"groups": [{"name": "past", "interval": f"{every_s}s", "rules": rules}]})
        _promtool(
            self.folder, "tsdb", "create-blocks-from", "rules", f"--start={start_s}", f"--end={end_s}",
            f"--eval-interval={every_s}s", f"--url={self.url}", "--output-dir=data", RULES,
        )  # fmt: skip
        self.stop()
        self.start()

    def recorded(self, series: str, start_s: float, end_s: float) -> list[float]:
        """Return the times at which a series was recorded."""
        answer = httpx.post(
            f"{self.url}/api/v1/query", data={"query": f"{series}[{end_s - start_s:.0f}s]", "time": end_s}, timeout=60.0
        ).json()
        return sorted({float(at_s) for one in answer["data"]["result"] for at_s, _ in one["values"]})

    def over(
        self, expression: str, start_s: float, end_s: float, every_s: int
    ) -> Iterator[tuple[dict[str, str], list[tuple[float, float]]]]:
        """Query a span, and yield each series' labels with its times and values."""
        answer = httpx.post(
            f"{self.url}/api/v1/query_range", timeout=600.0,
            data={"query": expression, "start": start_s, "end": end_s, "step": every_s},
        ).json()  # fmt: skip
        assert answer["status"] == "success", answer
        for series in answer["data"]["result"]:
            yield series["metric"], [(float(at_s), float(value)) for at_s, value in series["values"]]


def layers(rules: list[Rule]) -> Iterator[list[Rule]]:
    """Yield recording rules in layers, each after the rules that it reads."""
    waiting = list(rules)
    while waiting:
        names = {rule["record"] for rule in waiting}
        ready = [rule for rule in waiting if not any(name in rule["expr"] for name in names)]
        assert ready, f"{names} read each other"
        yield ready
        waiting = [rule for rule in waiting if rule not in ready]


def promtool(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run promtool in a folder, and return its result even if it failed."""
    install(TOOLS)
    return subprocess.run(
        [str(program(TOOLS, "promtool")), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def _promtool(folder: Path, *arguments: str) -> None:
    done = promtool(folder, *arguments)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
