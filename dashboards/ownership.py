"""Says what is ours in somebody's Grafana: one folder, and things whose uid or name begins with our prefix.

A push touches nothing else. Knows no kind of thing.
"""

import hashlib
import re
from typing import Any

Json = dict[str, Any]

FOLDER = {"uid": "calmops", "title": "calmops"}
PREFIX = "calmops-"
TAG = "calmops"  # the tag of our dashboards and marks
MARKS = {"deploy": "blue", "game-day": "orange"}  # the annotations that our dashboards show: second tag to colour
SOURCE_UID = "calmops-prometheus"
MUTE_PREFIX = "calmops-maintenance-"
MAX_UID = 40  # characters, Grafana's own limit


def uid(*words: str) -> str:
    """Return a stable uid of ours: the words themselves, or as many as fit and a hash of all of them."""
    text = PREFIX + re.sub(r"[^A-Za-z0-9_-]", "-", "-".join(words))
    if len(text) <= MAX_UID and text == PREFIX + "-".join(words):
        return text
    digest = hashlib.sha256("-".join(words).encode()).hexdigest()[:8]
    return f"{text[: MAX_UID - 9]}-{digest}"


def is_ours(uid_or_name: str) -> bool:
    """Return whether a uid or a name is one of ours."""
    return uid_or_name.startswith(PREFIX)
