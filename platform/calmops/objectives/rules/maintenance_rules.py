"""Writes announced maintenance as recording rules, whose series the alerting rules read. Knows no objective."""

from collections.abc import Iterable

from calmops.objectives.promises.maintenance import Maintenance
from calmops.objectives.rules.recording_rules import Rule
from calmops.objectives.rules.series import MAINTENANCE


def maintenance_rules(announced: Iterable[Maintenance]) -> list[Rule]:
    """Return recording rules of MAINTENANCE: 1 while maintenance lasts, nothing before and after.

    There is one rule per model: if two rules recorded one series, the end of the first would also end the second.
    """
    conditions: dict[str | None, list[str]] = {}
    for maintenance in announced:
        begins_s, ends_s = maintenance.begins.timestamp(), maintenance.ends.timestamp()
        conditions.setdefault(maintenance.model or None, []).append(
            f"vector(1) and on () (vector(time()) >= {begins_s:.0f}) and on () (vector(time()) < {ends_s:.0f})"
        )
    return [
        {"record": MAINTENANCE, "expr": "\nor\n".join(own), "labels": {"model": model} if model else {}}
        for model, own in conditions.items()
    ]
