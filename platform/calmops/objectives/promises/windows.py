"""Reads windows.yaml: over which windows a burning budget alerts, and when a budget counts as at risk.

A window fires while the budget burns more than ``factor`` times as fast as it may, over its long and over its short
span. The long span gives weight; the short one lets the alert end soon after recovery (SRE workbook, chapter 5).
Knows neither rules nor evaluator.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from calmops.foundation.config_file import Problem, parse
from calmops.objectives.promises.objective import Ratio, Severity

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SPAN = re.compile(r"^([1-9]\d*)([smhd])$")

Span = Annotated[str, Meta(description="a whole number with its unit: 30s, 5m, 6h or 3d")]
Share = Annotated[float, Meta(gt=0, lt=1, description="a share between 0 and 1")]


class Window(Struct, frozen=True, kw_only=True):
    """Pairs a long and a short span. With ``only_at_risk``, for pages alone, it fires only for a budget at risk."""

    name: str
    severity: Severity
    long_s: int
    short_s: int
    factor: float
    only_at_risk: bool = False

    def can_fire(self, objective: Ratio) -> bool:
        """Return whether this objective can burn that fast at all: no more than every event can be bad."""
        return self.factor * objective.budget < 1.0


class AtRisk(Struct, frozen=True, kw_only=True):
    """Says when a budget is at risk: less than ``left`` of it is left, or it would end within ``ends_within_s``."""

    left: float
    ends_within_s: int


class Windows(Struct, frozen=True, kw_only=True):
    """Holds every window, and when a budget is at risk."""

    windows: tuple[Window, ...]
    at_risk: AtRisk

    def of(self, objective: Ratio) -> tuple[list[Window], list[Window]]:
        """Return the windows that can fire for this objective, and those left out. A ticket objective never pages."""
        wanted = [one for one in self.windows if objective.severity == "page" or one.severity == "ticket"]
        usable = [one for one in wanted if one.can_fire(objective)]
        return usable, [one for one in wanted if not one.can_fire(objective)]

    def factor(self, window: Window, objective: Ratio) -> float:
        """Return how fast an unspent budget must burn for this window; for one at risk, so fast that it soon ends."""
        soon = objective.period_s / self.at_risk.ends_within_s if window.only_at_risk else 0.0
        return max(window.factor, soon)

    def delay_s(self, window: Window, objective: Ratio, bad_share: float, clean_s: float = math.inf) -> float:
        """Return how many seconds it takes a window to fire once ``bad_share`` of steady traffic is bad.

        ``clean_s``: seconds before that in which all traffic was good.
        """
        reached = self.factor(window, objective) * objective.budget / bad_share
        assert reached < 1, f"{window.name} doesn't fire for {objective.name} at {bad_share:g}"
        return window.long_s * reached if window.long_s <= clean_s else clean_s * reached / (1 - reached)

    def paced(self, pace: Callable[[float], int]) -> "Windows":
        """Return the same windows with ``pace`` applied to every span, for tests that can't wait."""
        return Windows(
            windows=tuple(
                msgspec.structs.replace(one, long_s=pace(one.long_s), short_s=pace(one.short_s)) for one in self.windows
            ),
            at_risk=msgspec.structs.replace(self.at_risk, ends_within_s=pace(self.at_risk.ends_within_s)),
        )


class WindowEntry(Struct, frozen=True, kw_only=True):
    """Holds one entry of windows.yaml."""

    name: Annotated[str, Meta(pattern="^[a-z][a-z0-9-]*$", description="a short name in small letters")]
    severity: Annotated[Literal["page", "ticket"], Meta(description="page or ticket")]
    long: Span
    short: Span
    factor: Annotated[float, Meta(gt=0, description="how many times as fast as it may the budget burns")]
    only_at_risk: bool = False


class AtRiskEntry(Struct, frozen=True, kw_only=True):
    """Holds ``at_risk`` of windows.yaml."""

    left: Share
    ends_within: Span


class WindowsFile(Struct, frozen=True, kw_only=True):
    """Holds the content of windows.yaml."""

    windows: tuple[WindowEntry, ...]
    at_risk: AtRiskEntry


def read_windows(path: Path) -> Windows:
    """Read windows.yaml. Raises ConfigError, one line per problem."""
    file = msgspec.convert(parse(path, WindowsFile, _contradictions), WindowsFile)
    return Windows(
        windows=tuple(
            Window(
                name=one.name, severity=one.severity, long_s=seconds(one.long), short_s=seconds(one.short),
                factor=one.factor, only_at_risk=one.only_at_risk,
            )
            for one in file.windows
        ),
        at_risk=AtRisk(left=file.at_risk.left, ends_within_s=seconds(file.at_risk.ends_within)),
    )  # fmt: skip


def seconds(span: str) -> int:
    """Turn a span into seconds: "5m" into 300. Raises ValueError if it is no span."""
    match = SPAN.match(span)
    if match is None:
        raise ValueError(f"{span!r} is not a span: a whole number with its unit, 30s, 5m, 6h or 3d")
    return int(match[1]) * UNITS_S[match[2]]


def span(duration_s: int) -> str:
    """Turn seconds into a span: 300 into "5m", the largest unit that gives a whole number."""
    unit = max((unit for unit, size in UNITS_S.items() if duration_s % size == 0), key=UNITS_S.__getitem__)
    return f"{duration_s // UNITS_S[unit]}{unit}"


def span_problem(where: str, text: str) -> list[Problem]:
    """Return what is wrong with a span, if anything."""
    try:
        seconds(text)
    except ValueError as error:
        return [Problem(where, str(error))]
    return []


def _contradictions(tree: dict[str, Any]) -> list[Problem]:
    problems = span_problem("at_risk.ends_within", tree["at_risk"]["ends_within"])
    for index, window in enumerate(tree["windows"]):
        where, long, short = f"windows[{index}]", window["long"], window["short"]
        problems += span_problem(f"{where}.long", long) + span_problem(f"{where}.short", short)
        if not problems and seconds(short) >= seconds(long):
            problems.append(Problem(f"{where}.short", f"must be shorter than long ({long}), got {short}"))
        if window.get("only_at_risk") and window["severity"] != "page":
            message = "goes with severity page alone: a budget belongs to a model, and tickets are counted by shard"
            problems.append(Problem(f"{where}.only_at_risk", message))
    names = [one["name"] for one in tree["windows"]]
    problems += [
        Problem(f"windows[{index}].name", f"{name!r} is given twice; name each window once")
        for index, name in enumerate(names)
        if name in names[:index]
    ]
    return problems
