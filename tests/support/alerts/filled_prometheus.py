"""Runs a Prometheus with a given past, and with what the shipped rules would have recorded in it."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from calmops.objectives.rules.recording_rules import Rule
from calmops.objectives.rules.series import BUDGET
from tests.support.alerts.real_servers import RealPrometheus, layers


class Past(NamedTuple):
    """Says when the past begins and ends (Unix seconds), and how often its rules were evaluated."""

    begin_s: int
    end_s: int
    every_s: int


@contextlib.contextmanager
def filled(
    folder: Path, lines: Iterable[str], rules: list[Rule], past: Past
) -> Iterator[tuple[RealPrometheus, list[float]]]:
    """Yield a running Prometheus, and the times at which its rules were evaluated: a group has an offset of its own.

    ``lines``: OpenMetrics text. A given past has no marks where a series ends: a value counts for one evaluation only.
    """
    server = RealPrometheus(folder, f"--query.lookback-delta={past.every_s - 1}s")
    server.fill(lines)
    server.start()
    try:
        for layer in layers([rule for rule in rules if "record" in rule]):
            server.record(layer, *past)
        yield server, server.recorded(BUDGET, past.begin_s, past.end_s)
    finally:
        server.stop()


def rules_of(rule_file: dict[str, Any]) -> list[Rule]:
    """Return all rules of a rule file, in order."""
    return [rule for group in rule_file["groups"] for rule in group["rules"]]
