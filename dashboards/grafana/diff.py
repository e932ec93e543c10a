"""Compares each thing as Grafana keeps it with how it should be, and shows the difference as a unified diff.

Grafana adds fields of its own to what it receives. Fields that name, count or date a thing aren't compared. Any other
field that we don't send is compared unless it is empty, so that what somebody added by hand is seen and a new Grafana's
defaults are not. Knows no kind of thing and no API.
"""

import difflib
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from dashboards.ownership import Json

Action = Literal["create", "update", "remove", "same"]

ADDED = frozenset({"id", "orgId", "orgID", "version", "updated", "created", "provenance", "guid"})
NOTHING: tuple[Any, ...] = (None, "", [], {})
DEFAULTS: tuple[Any, ...] = (*NOTHING, False, 0, "0s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Holds one thing before and after. ``before`` None: it isn't there; ``after`` None: remove it."""

    kind: str
    name: str
    before: Json | None
    after: Json | None
    body: Json | None = None  # what is sent, if not ``after``; None for a rule, which goes with its group
    current: Json | None = None  # all that Grafana answered: versions, and what is left as it is
    touched: bool = False  # a group that is sent because one of its rules differs

    @property
    def action(self) -> Action:
        """Return what to do."""
        if self.before is None:
            return "create"
        if self.after is None:
            return "remove"
        return "update" if self.touched or self.before != self.after else "same"

    @property
    def diff(self) -> str:
        """Return a unified diff from how it is to how it should be; empty if nothing differs."""
        title = f"{self.kind} {self.name}"
        lines = difflib.unified_diff(
            _lines(self.before), _lines(self.after), f"grafana: {title}", f"calmops: {title}", lineterm=""
        )
        return "\n".join(lines)


def only(current: Json, keys: Json) -> Json:
    """Return the fields of ``current`` that are ours to set."""
    return {key: value for key, value in current.items() if key in keys}


def comparable(current: Any, wanted: Any, *, top: bool = True) -> Any:
    """Return ``current`` without what Grafana added to ``wanted``, and with the empty fields that it left out."""
    if isinstance(current, dict) and isinstance(wanted, dict):
        ignored = ADDED if top else frozenset()
        kept = {
            key: wanted[key] if key in ignored else comparable(value, wanted[key], top=False)
            for key, value in current.items()
            if key in wanted
        }
        more = {
            key: value
            for key, value in current.items()
            if key not in wanted and key not in ignored and not _among(value, DEFAULTS)
        }
        left_out = {key: value for key, value in wanted.items() if key not in current and _among(value, NOTHING)}
        return kept | more | left_out
    if isinstance(current, list) and isinstance(wanted, list):
        paired = [comparable(one, other, top=False) for one, other in zip(current, wanted, strict=False)]
        return paired + current[len(wanted) :]
    return wanted if _among(current, NOTHING) and _among(wanted, NOTHING) else current


def mask(url: str) -> str:
    """Mask an address whose path may hold a secret: a diff then shows that it changed, and not what it is."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}/... (sha256 {hashlib.sha256(url.encode()).hexdigest()[:12]})"


def _among(value: Any, trivial: tuple[Any, ...]) -> bool:
    """Return whether a value is one of ``trivial``. Types are compared too, so that 0 and False differ."""
    return any(type(value) is type(one) and value == one for one in trivial)


def _lines(value: Json | None) -> list[str]:
    return [] if value is None else json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).splitlines()
