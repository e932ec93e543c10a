"""Parses raw bytes into a typed body: first the JSON, then the schema. The first step of a request.

Every failure is an InputError that names the field. Knows neither the models nor the server's limits, except
the size of a body.
"""

import json
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError

from calmops.foundation.errors import InputError
from calmops.intake.schema import CommonBody
from calmops.intake.tokenizing import text_only
from calmops.intake.unsupported import Neutral, refuse_others

SHOWN_CHARS = 64  # of a bad value in an error message
TAGS = frozenset(("[key]", "text", "texts", "list", "ids", "id_lists"))

Body = TypeVar("Body", bound=CommonBody)


def parse_json(raw: bytes, limit_bytes: int) -> dict[str, Any]:
    """Parse the body into a dict; raise InputError where it is too large or no JSON object.

    Bytes that aren't UTF-8 and lone surrogates become U+FFFD; control characters stay.
    """
    if len(raw) > limit_bytes:
        raise InputError(f"the body has {len(raw)} bytes; the limit is {limit_bytes}", code="body_too_large")
    try:
        body = json.loads(raw.decode("utf-8", "replace"), strict=False, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise InputError("the body is nested too deeply", code="invalid_json") from error
    except ValueError as error:
        raise InputError(f"the body isn't valid JSON: {_short(str(error))}", code="invalid_json") from error
    if not isinstance(body, dict):
        raise InputError(f"the body must be a JSON object; it is {_shown(body)}", code="invalid_json")
    return body


def parse_body(raw: bytes, limit_bytes: int, kind: type[Body], known: dict[str, Neutral | None]) -> Body:
    """Parse the body into its schema. ``known``: OpenAI's parameters that the schema doesn't have.

    The limits of the model and the server are checked later.
    """
    body = parse_json(raw, limit_bytes)
    refuse_others({name: value for name, value in body.items() if name not in kind.model_fields}, known)
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise _refusal(error) from error
    except RecursionError as error:
        raise InputError("the body is nested too deeply", code="invalid_json") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} isn't JSON")


def _refusal(error: ValidationError) -> InputError:
    first = error.errors(include_url=False, include_context=False)[0]
    param = _path(first["loc"])
    if first["type"] == "missing":
        return InputError(f"{param!r} is required", param=param, code="missing_required_parameter")
    message = first["msg"][0].lower() + first["msg"][1:]
    if first["type"].startswith("union_tag"):
        message = "this type or form isn't allowed here"
    return InputError(
        f"{param!r}: {_short(message, 300)}; given: {_shown(first['input'])}", param=param, code="invalid_value"
    )


def _path(location: tuple[int | str, ...]) -> str:
    """Write a pydantic location as a JSON path: ``messages[0].content``."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part not in TAGS or not text:
            text += f".{part}" if text else part
    return text_only(text)[:100]


def _shown(value: Any) -> str:
    """Write a value as JSON, cut to SHOWN_CHARS."""
    if isinstance(value, dict | list) and len(value) > SHOWN_CHARS:
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    try:
        return _short(json.dumps(value[: SHOWN_CHARS + 1] if isinstance(value, str) else value, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError):
        return f"a value of type {type(value).__name__}"


def _short(text: str, limit_chars: int = SHOWN_CHARS) -> str:
    text = text_only(text)
    return text if len(text) <= limit_chars else text[:limit_chars] + "…"
