"""Parameters of OpenAI's API that calmops doesn't implement: refused by name, never ignored in silence.

A value that asks for nothing (``tools: []``, ``response_format: {"type": "text"}``) is let through.
"""

from typing import Any

from calmops.foundation.errors import InputError

Neutral = tuple[Any, ...]
LABEL: Neutral | None = None  # any value: a hint or label that can't change the answer

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
    """Raise InputError for the first parameter that asks for something we don't do. ``where`` is a path prefix."""
    for name, value in others.items():
        param = (where + name)[:100]
        if name not in known:
            raise InputError(f"unknown parameter: {param!r}", param=param, code="unknown_parameter")
        neutral = known[name]
        if neutral is None or value is None or any(_same(value, idle) for idle in neutral):
            continue
        raise InputError(f"{param!r} isn't supported yet; leave it out", param=param, code="unsupported_parameter")


def _same(value: Any, idle: Any) -> bool:
    return type(value) is type(idle) and bool(value == idle)
