"""This module parses lines of a streamed answer, server-sent events as OpenAI's API has them, into pieces. Pure."""

import json
from typing import Any, NamedTuple

DONE = "[DONE]"


class Piece(NamedTuple):
    """Holds one event: the text that it adds, why the answer ended, the usage at the end, or the server's error."""

    text: str = ""
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str | None = None
    done: bool = False


def piece(line: str) -> Piece | None:
    """Parse one line of the stream. Return None for comments, event ids and blank lines."""
    if not line.startswith("data:"):
        return None
    data = line[5:].strip()
    if data == DONE:
        return Piece(done=True)
    try:
        body: dict[str, Any] = json.loads(data)
    except json.JSONDecodeError:
        return Piece(error=f"the stream held something that isn't JSON: {data[:80]!r}")
    if "error" in body:
        return Piece(error=str(body["error"].get("message", body["error"])))
    choice = (body.get("choices") or [{}])[0]
    delta = choice.get("delta") or {}
    usage = body.get("usage") or {}
    return Piece(
        text=delta.get("content") or choice.get("text") or "",
        finish_reason=choice.get("finish_reason"),
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
    )
