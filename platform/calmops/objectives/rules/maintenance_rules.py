"""Announced maintenance as recording rules, which the alerting rules ask."""

from collections.abc import Iterable

from calmops.objectives.promises.maintenance import Maintenance
from calmops.objectives.rules.recording_rules import Rule
from calmops.objectives.rules.series import MAINTENANCE


def maintenance_rules(announced: Iterable[Maintenance]) -> list[Rule]:
    """Recording rules of MAINTENANCE: 1 while it lasts, nothing before and after.

    One rule a model: where two rules record one series, the end of the first takes the beginning of the second with it.
    """
    lasting: dict[str | None, list[str]] = {}
    for one in announced:
        lasting.setdefault(one.model or None, []).append(
            f"vector(1) and on () (vector(time()) >= {one.begins.timestamp():.0f}) and on () (vector(time()) < {one.ends.timestamp():.0f})"
        )
    return [
        {"record": MAINTENANCE, "expr": "\nor\n".join(each), "labels": {"model": model} if model else {}}
        for model, each in lasting.items()
    ]
