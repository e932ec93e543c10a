"""Refuses parameters of OpenAI's API that calmops doesn't implement: by name, never ignored in silence.

Part of parsing a body. A value that asks for nothing (``tools: []``, ``response_format: {"type": "text"}``) is
accepted. Knows no model.
"""

from typing import Any

from calmops.foundation.errors import InputError

Neutral = tuple[Any, ...]  # the values of a parameter that ask for nothing
LABEL: Neutral | None = None  # every value is accepted: a hint or label can't change the answer

COMMON: dict[str, Neutral | None] = {
    "metadata": ({},),
    "service_tier": ("auto", "default"),
    "store": (False,),
}
COMPLETION: dict[str, Neutral | None] = COMMON | {"suffix": ("",)}
CHAT: dict[str, Neutral | None] = COMMON | {
    "audio": (),
    "function_call": ("none",),
    "functions": ([],),
    "modalities": (["text"],),
    "moderation": (),
    "parallel_tool_calls": (),
    "prediction": (),
    "prompt_cache_key": LABEL,
    "prompt_cache_retention": (),
    "prompt_cache_options": (),
    "reasoning_effort": (),
    "response_format": ({"type": "text"},),
    "safety_identifier": LABEL,
    "tool_choice": ("none",),
    "tools": ([],),
    "verbosity": (),
    "web_search_options": (),
}
STREAM_OPTIONS: dict[str, Neutral | None] = {"include_obfuscation": (False,)}
MESSAGE: dict[str, Neutral | None] = {
    "annotations": ([],),
    "audio": (),
    "function_call": (),
    "name": (),
    "reasoning_content": (),
    "refusal": (),
    "tool_call_id": (),
    "tool_calls": ([],),
}
PART: dict[str, Neutral | None] = {}


def refuse_others(others: dict[str, Any], known: dict[str, Neutral | None], where: str = "") -> None:
    """Raise InputError for the first parameter that asks for something we don't do. ``where``: the path before it."""
    for name, value in others.items():
        param = (where + name)[:100]
        if name not in known:
            raise InputError(f"unknown parameter: {param!r}", param=param, code="unknown_parameter")
        neutral = known[name]
        if neutral is None or value is None or any(_same(value, harmless) for harmless in neutral):
            continue
        raise InputError(f"{param!r} isn't supported yet; leave it out", param=param, code="unsupported_parameter")


def _same(value: Any, harmless: Any) -> bool:
    return type(value) is type(harmless) and bool(value == harmless)
