"""Choose the short forms of one run so that it takes at most 30 minutes, and say what it leaves out.

First comes what earlier runs left out, oldest first, then what changed since its newest entry in the log that holds,
then a share of the rest: a quarter of all proofs, another one after each commit, so that over four commits each gets
its turn. The order within each of these also turns with the commits: a clone that remembers nothing still doesn't
leave out the same proofs each time. This module knows neither git nor files: all that it needs is handed to it.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

BUDGET_S = 30 * 60.0
AIM_S = 40.0  # a short form should take no longer; what has never run is expected to take this long
LIMIT_S = 180.0  # one that takes longer is ended and doesn't hold
PLATFORM_S = 90.0  # expected of the shared platform's start where none was seen yet
ROUND = 4  # commits over which each proof gets its turn
PLATFORM = "start of the shared platform"


class Costs(NamedTuple):
    """How long short forms are expected to take, from what they took last time, s."""

    seconds: Mapping[str, float]
    on_platform: Collection[str]  # the names of those that need the shared platform

    def of(self, name: str, *, platform_runs: bool) -> float:
        """Return what one more takes, with the start of the platform if it is the first that needs it."""
        starts = name in self.on_platform and not platform_runs
        return self.seconds.get(name, AIM_S) + (self.seconds.get(PLATFORM, PLATFORM_S) if starts else 0.0)


class ShortPlan(NamedTuple):
    """The plan of one run. Each name is in one of the three."""

    chosen: dict[str, str]  # why, in the order of their claim to the time
    left_out: dict[str, str]  # why, for want of time; these come first next time
    later: list[str]  # unchanged, and their turn comes at a later commit


def plan_short_run(
    names: Sequence[str], left_out_before: Sequence[str], has_changed: Callable[[str], bool], count: int, costs: Costs
) -> ShortPlan:
    """Choose from ``names`` for the ``count``-th commit.

    ``left_out_before``: by earlier runs and not run since, in the order in which they were left out.
    """
    turned, share = rotate(sorted(names), count)
    reasons = {name: "left out by an earlier run" for name in left_out_before if name in turned}
    reasons |= {name: "changed since its entry" for name in turned if name not in reasons and has_changed(name)}
    reasons |= {name: "its turn at this commit" for name in share if name not in reasons}
    chosen, left_out, spent_s, platform_runs = {}, {}, 0.0, False
    for name, reason in reasons.items():
        cost_s = costs.of(name, platform_runs=platform_runs)
        if why := does_not_fit(spent_s, cost_s):
            left_out[name] = f"{reason}, but {why}"
            continue
        chosen[name] = reason
        spent_s += cost_s
        platform_runs |= name in costs.on_platform
    return ShortPlan(chosen, left_out, [name for name in turned if name not in reasons])


def rotate(names: Sequence[str], count: int) -> tuple[list[str], list[str]]:
    """Return all names from where the ``count``-th commit begins, and those of them whose turn it is."""
    size = math.ceil(len(names) / ROUND)
    start = count * size % len(names) if names else 0
    turned = [*names[start:], *names[:start]]
    return turned, turned[:size]


def does_not_fit(spent_s: float, cost_s: float) -> str | None:
    """Say why no more may be started; None if it fits into the budget."""
    if spent_s + cost_s <= BUDGET_S:
        return None
    return f"{spent_s:.0f} s of {BUDGET_S:.0f} s are taken and it is expected to take {cost_s:.0f} s"
