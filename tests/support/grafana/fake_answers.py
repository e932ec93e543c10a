"""Answers and refuses for the fake Grafana: shared by its folders, dashboards, data sources and alerting."""

import json
import re
from typing import Any, NamedTuple

Json = dict[str, Any]
WORDS = re.compile(r"^[A-Za-z0-9_-]{1,40}$")


class Refused(Exception):
    """Carries an answer that isn't 2xx."""

    def __init__(self, status: int, message: str, /, **more: Any) -> None:
        super().__init__(message)
        self.status, self.body = status, {"message": message} | more


class Answer(NamedTuple):
    status: int
    body: Any


def an_object(sent: bytes) -> Json:
    try:
        body = json.loads(sent)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "bad request data")
    return body


def there(kept: dict[str, Json], name: str, otherwise: str) -> Json:
    if name not in kept:
        raise Refused(404, otherwise)
    return kept[name]


def needs(body: Json, *names: str) -> None:
    for name in names:
        if body.get(name) in (None, "", []):
            raise Refused(400, f"{name} is required")


def a_uid(uid: str) -> str:
    if not WORDS.match(uid):
        raise Refused(400, "uid contains illegal characters or is longer than 40")
    return uid
