"""What a push would change: each thing as Grafana keeps it beside how it should be, and the difference as a unified diff.

Grafana adds fields of its own to what it is sent. Of those that name, count and date a thing none is compared; any other
that we don't send is compared unless it is empty, so that what somebody adds by hand is seen and a new Grafana's defaults
are not.
"""

import difflib
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from dashboards.grafana.ownership import Json

Action = Literal["create", "update", "remove", "same"]

ADDED = frozenset({"id", "orgId", "orgID", "version", "updated", "created", "provenance", "guid"})
NOTHING: tuple[Any, ...] = (None, "", [], {})
DEFAULTS: tuple[Any, ...] = (*NOTHING, False, 0, "0s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing, before and after. ``before`` None: it isn't there; ``after`` None: it is to go."""

    kind: str
    name: str
    before: Json | None
    after: Json | None
    body: Json | None = None  # what is sent, where that isn't ``after``; of a rule: None, it goes with its group
    found: Json | None = None  # all that Grafana answered: versions, and what is left as it is
    touched: bool = False  # a group that is sent because one of its rules differs

    @property
    def action(self) -> Action:
        """What is to be done."""
        if self.before is None:
            return "create"
        if self.after is None:
            return "remove"
        return "update" if self.touched or self.before != self.after else "same"

    @property
    def diff(self) -> str:
        """From how it is to how it should be; empty if nothing differs."""
        title = f"{self.kind} {self.name}"
        lines = difflib.unified_diff(
            _lines(self.before), _lines(self.after), f"grafana: {title}", f"calmops: {title}", lineterm=""
        )
        return "\n".join(lines)


def only(found: Json, keys: Json) -> Json:
    """The fields of ``found`` that are ours to set."""
    return {key: value for key, value in found.items() if key in keys}


def comparable(found: Any, wanted: Any, *, top: bool = True) -> Any:
    """``found`` without what Grafana added to ``wanted``, and with what it left out because it is empty."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        counted = ADDED if top else frozenset()
        kept = {
            key: wanted[key] if key in counted else comparable(value, wanted[key], top=False)
            for key, value in found.items()
            if key in wanted
        }
        more = {
            key: value
            for key, value in found.items()
            if key not in wanted and key not in counted and not _among(value, DEFAULTS)
        }
        left_out = {key: value for key, value in wanted.items() if key not in found and _among(value, NOTHING)}
        return kept | more | left_out
    if isinstance(found, list) and isinstance(wanted, list):
        paired = [comparable(one, other, top=False) for one, other in zip(found, wanted, strict=False)]
        return paired + found[len(wanted) :]
    return wanted if _among(found, NOTHING) and _among(wanted, NOTHING) else found


def masked(url: str) -> str:
    """An address whose path may hold a secret, so that a diff shows that it changed and not what it is."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}/... (sha256 {hashlib.sha256(url.encode()).hexdigest()[:12]})"


def _among(value: Any, trivial: tuple[Any, ...]) -> bool:
    """1 is no True here, and 0 no False, but both of the latter are trivial."""
    return any(type(value) is type(one) and value == one for one in trivial)


def _lines(value: Json | None) -> list[str]:
    return [] if value is None else json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).splitlines()
