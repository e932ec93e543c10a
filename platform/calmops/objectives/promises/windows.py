"""Over which windows a burning budget alerts, and when it counts as at risk: windows.yaml as records.

A window fires while the budget burns more than ``factor`` times as fast as it may, over its long and its short span: the
long one gives weight, the short one lets it end soon after recovery (SRE workbook, chapter 5).
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
    """One pair of spans. ``only_at_risk``: it also asks that little budget is left."""

    name: str
    severity: Severity
    long_s: int
    short_s: int
    factor: float
    only_at_risk: bool = False

    def can_fire(self, objective: Ratio) -> bool:
        """Whether this objective can burn that fast at all: more than every event can't be bad."""
        return self.factor * objective.budget < 1.0


class AtRisk(Struct, frozen=True, kw_only=True):
    """A budget is at risk with less than ``left`` of it left, or if at this rate it ends within ``ends_within_s``."""

    left: float
    ends_within_s: int


class Windows(Struct, frozen=True, kw_only=True):
    """All of them."""

    windows: tuple[Window, ...]
    at_risk: AtRisk

    def of(self, objective: Ratio) -> tuple[list[Window], list[Window]]:
        """Those that can fire for this objective, and those left out. A ticket objective never pages."""
        asked = [one for one in self.windows if objective.severity == "page" or one.severity == "ticket"]
        return [one for one in asked if one.can_fire(objective)], [one for one in asked if not one.can_fire(objective)]

    def factor(self, window: Window, objective: Ratio) -> float:
        """How fast a budget of which nothing is spent must burn for this window: at risk, so fast that it soon ends."""
        soon = objective.period_s / self.at_risk.ends_within_s if window.only_at_risk else 0.0
        return max(window.factor, soon)

    def delay_s(self, window: Window, objective: Ratio, bad_share: float, clean_s: float = math.inf) -> float:
        """After how long a window fires once this share of a steady traffic turns bad, having been good for ``clean_s``."""
        reached = self.factor(window, objective) * objective.budget / bad_share
        assert reached < 1, f"{window.name} doesn't fire for {objective.name} at {bad_share:g}"
        return window.long_s * reached if window.long_s <= clean_s else clean_s * reached / (1 - reached)

    def paced(self, pace: Callable[[float], int]) -> "Windows":
        """The same with every span as ``pace`` gives it, for tests that can't wait."""
        return Windows(
            windows=tuple(
                msgspec.structs.replace(one, long_s=pace(one.long_s), short_s=pace(one.short_s)) for one in self.windows
            ),
            at_risk=msgspec.structs.replace(self.at_risk, ends_within_s=pace(self.at_risk.ends_within_s)),
        )


class WindowEntry(Struct, frozen=True, kw_only=True):
    """One entry of windows.yaml."""

    name: Annotated[str, Meta(pattern="^[a-z][a-z0-9-]*$", description="a short name in small letters")]
    severity: Annotated[Literal["page", "ticket"], Meta(description="page or ticket")]
    long: Span
    short: Span
    factor: Annotated[float, Meta(gt=0, description="how many times as fast as it may the budget burns")]
    only_at_risk: bool = False


class AtRiskEntry(Struct, frozen=True, kw_only=True):
    """at_risk of windows.yaml."""

    left: Share
    ends_within: Span


class WindowsFile(Struct, frozen=True, kw_only=True):
    """windows.yaml."""

    windows: tuple[WindowEntry, ...]
    at_risk: AtRiskEntry


def read_windows(path: Path) -> Windows:
    """windows.yaml. Raises ConfigError, one line for each problem."""
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
    """ "5m" to 300. ValueError if it is no span."""
    match = SPAN.match(span)
    if match is None:
        raise ValueError(f"{span!r} is not a span: a whole number with its unit, 30s, 5m, 6h or 3d")
    return int(match[1]) * UNITS_S[match[2]]


def span(duration_s: int) -> str:
    """300 to "5m": the largest unit that gives a whole number."""
    unit = max((unit for unit, size in UNITS_S.items() if duration_s % size == 0), key=UNITS_S.__getitem__)
    return f"{duration_s // UNITS_S[unit]}{unit}"


def span_problem(where: str, text: str) -> list[Problem]:
    """What is wrong with a span, if anything."""
    try:
        seconds(text)
    except ValueError as error:
        return [Problem(where, str(error))]
    return []


def _contradictions(tree: dict[str, Any]) -> list[Problem]:
    problems = span_problem("at_risk.ends_within", tree["at_risk"]["ends_within"])
    for index, one in enumerate(tree["windows"]):
        where = f"windows[{index}]"
        problems += span_problem(f"{where}.long", one["long"]) + span_problem(f"{where}.short", one["short"])
        if not problems and seconds(one["short"]) >= seconds(one["long"]):
            problems.append(Problem(f"{where}.short", f"must be shorter than long ({one['long']}), got {one['short']}"))
    names = [one["name"] for one in tree["windows"]]
    problems += [
        Problem(f"windows[{index}].name", f"{name!r} is given twice; name each window once")
        for index, name in enumerate(names)
        if name in names[:index]
    ]
    return problems
