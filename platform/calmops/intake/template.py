"""Renders messages into one prompt with the release's chat template, in a sandbox. Knows no HTTP and no request.

Strings of special tokens in the rendered text become special ids, so every message is guarded first: a character
that could begin or end such a string gets a guard (a Unicode noncharacter) beside it. So no match can begin or end
inside a message, whatever the template does with it. The text between special tokens is encoded as plain text,
after its guards were removed.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from calmops.foundation.errors import CalmopsError, InputError, UnsupportedModel
from calmops.intake.tokenizing import TextTokenizer, text_only

GUARD = "\ufdd0"  # Unicode reserves it for a program's own use; in a message it becomes U+FFFD

# A prompt is refused if it is longer than RENDERED_FACTOR times its messages plus RENDERED_SLACK_CHARS.
RENDERED_FACTOR = 16
RENDERED_SLACK_CHARS = 65536

BENIGN = ({"role": "user", "content": "Hello there."},)
GENERATION_TAG = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")  # it marks spans for training

Messages = Sequence[Mapping[str, str]]


def _today(pattern: str) -> str:
    return datetime.now(UTC).strftime(pattern)


class ChatTemplate:
    """Holds a compiled chat template together with the tokenizer that it was trained with."""

    def __init__(
        self,
        source: str,
        tokenizer: TextTokenizer,
        variables: Mapping[str, str],
        today: Callable[[str], str] = _today,
    ) -> None:
        """Compile ``source``; raise UnsupportedModel if it can't render a plain message.

        ``variables``: bos_token, eos_token and such.
        """
        self._tokenizer = tokenizer
        self._variables = dict(variables)
        names = sorted(tokenizer.specials, key=len, reverse=True)
        self._specials = re.compile("(" + "|".join(map(re.escape, names)) + ")") if names else None
        self._insides = "\n".join(names).casefold()
        self._begins = _class_of(name[0] for name in names)
        self._ends = _class_of(name[-1] for name in names)
        try:
            self._template = _environment(today).from_string(GENERATION_TAG.sub("", source))
            self.render(BENIGN)
        except (TemplateError, InputError) as error:
            raise UnsupportedModel(f"the chat template can't render a plain user message: {error}") from error

    def render(self, messages: Messages) -> tuple[int, ...]:
        """Return a conversation's ids, up to the beginning of the answer; raise InputError where the template refuses.

        ``role`` must come from a fixed list; only ``content`` may be a client's text.
        """
        guarded = [{**message, "content": self._guarded(message["content"])} for message in messages]
        size_chars = sum(len(message["content"]) for message in guarded)
        try:
            text = self._template.render(messages=guarded, add_generation_prompt=True, **self._variables)
        except CalmopsError:
            raise
        except Exception as error:  # a template's code may raise anything: it can't take these messages
            raise InputError(f"the model's chat template refuses these messages: {error}", param="messages") from error
        limit_chars = RENDERED_FACTOR * size_chars + RENDERED_SLACK_CHARS
        if len(text) > limit_chars:
            raise InputError(
                f"the rendered chat has {len(text)} characters; the limit is {limit_chars}", param="messages"
            )
        return self._ids_of(text)

    def _guarded(self, content: str) -> str:
        text = text_only(content).replace(GUARD, "\ufffd")
        if self._specials is None:
            return text
        core = text.strip()
        # "user" could complete a template's "<|" and "|>" to a special token.
        if core and core.casefold() in self._insides:
            text = text.replace(core[0], core[0] + GUARD, 1)
        return self._ends.sub(rf"{GUARD}\g<0>", self._begins.sub(rf"\g<0>{GUARD}", text))

    def _ids_of(self, text: str) -> tuple[int, ...]:
        pieces = self._specials.split(text) if self._specials else [text]
        ids: list[int] = []
        for at, piece in enumerate(pieces):
            if at % 2:
                ids.append(self._tokenizer.specials[piece])
                continue
            before, after = pieces[at - 1] if at else "", pieces[at + 1] if at + 1 < len(pieces) else ""
            plain = piece.replace(GUARD, "")
            if before in self._tokenizer.strip_after:
                plain = plain.lstrip()
            if after in self._tokenizer.strip_before:
                plain = plain.rstrip()
            if plain:
                ids += self._tokenizer.encode(plain)
        return tuple(ids)


def _class_of(letters: Any) -> re.Pattern[str]:
    """Match any of these characters, or nothing if there are none."""
    unique = sorted(set(letters))
    return re.compile("[" + "".join(map(re.escape, unique)) + "]" if unique else r"(?!)")


def _environment(today: Callable[[str], str]) -> ImmutableSandboxedEnvironment:
    """Make the environment that published chat templates are written for."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = today
    return environment


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> None:
    raise InputError(f"the model's chat template refuses these messages: {message}", param="messages")
