"""Decides which added tokens of a tokenizer.json are special and which are control tokens; nothing else decides it.

A token's way passes here twice. On the way in, intake makes no control token out of a client's text, and only the chat
template may place one. On the way out, the engine gives a special token no text. The two differ for a token such as
"<tool_call>" that the file doesn't flag: a client can't place it, but the model may say it and the reader sees it.
Knows no tokenizer, only what the file says.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CONTROL_SHAPE = re.compile(r"^(<[^\s<>]+>|\[[A-Z0-9_/]+\])$")  # "<tool_call>", "[INST]"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedToken:
    """One entry of ``added_tokens``."""

    content: str
    token_id: int
    special: bool  # as the file flags it: never part of an answer's text
    strips_before: bool  # the tokenizer takes the white space before it away
    strips_after: bool

    @property
    def control(self) -> bool:
        """Say whether a client's text must never yield this token: it is special, or has a control token's shape."""
        return self.special or CONTROL_SHAPE.match(self.content) is not None


def added_tokens(document: Mapping[str, Any]) -> tuple[AddedToken, ...]:
    """Read the added tokens of a tokenizer.json, in its order. Raises KeyError for an incomplete entry."""
    return tuple(
        AddedToken(
            content=entry["content"],
            token_id=entry["id"],
            special=entry["special"],
            strips_before=bool(entry.get("lstrip")),
            strips_after=bool(entry.get("rstrip")),
        )
        for entry in document.get("added_tokens", ())
    )
