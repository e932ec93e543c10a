"""Turns a prompt into token ids and fits them into the context. Pure; part of parsing; knows no HTTP."""

from typing import Any

from msgspec import Struct

from calmops.foundation.errors import InputError
from calmops.intake.schema import ChatBody, CompletionBody
from calmops.intake.served_model import ServedModel

SLIDING_SHARE = 4  # where the prompt slides and max_tokens is left out, a quarter of the context is the answer's
NORMALIZED_FACTOR = 4  # a normalizer may shrink text by this factor before it is cut into tokens


class Prompt(Struct, frozen=True, kw_only=True):
    """Holds prompt ids that fit the context, and how many tokens may follow them."""

    ids: tuple[int, ...]
    max_tokens: int


def completion_prompt(body: CompletionBody, model: ServedModel) -> tuple[int, ...]:
    """Return the ids of a completion's prompt, whichever of the schema's forms it has."""
    prompt: Any = body.prompt
    if isinstance(prompt, list) and isinstance(prompt[0], str | list):
        (prompt,) = prompt
    if isinstance(prompt, str):
        text = _bounded(prompt, model, "prompt", body.sliding)
        ids = model.tokenizer.encode(text, framed=True)
    else:
        ids = tuple(prompt)
        highest = max(ids)
        if highest >= model.vocab_size:
            raise InputError(
                f"'prompt' has token id {highest}; {model.name!r} has ids 0 to {model.vocab_size - 1}", param="prompt"
            )
    return ids or _start(model)


def chat_prompt(body: ChatBody, model: ServedModel) -> tuple[int, ...]:
    """Return the ids of a conversation up to the beginning of the assistant's answer.

    Raises InputError if the model has no template, or if the template refuses the messages.
    """
    if model.template is None:
        raise InputError(
            f"{model.name!r} can't chat: {model.no_chat or 'its release has no chat template'}; use /v1/completions",
            param="model",
            code="no_chat_template",
        )
    messages = [
        {"role": "system" if message.role == "developer" else message.role, "content": _content(message.content)}
        for message in body.messages
    ]
    if not body.sliding:
        _bounded("".join(message["content"] for message in messages), model, "messages", sliding=False)
    return model.template.render(messages) or _start(model)


def text_chars(body: CompletionBody) -> int:
    """Count the characters of a completion's prompt; 0 where it came as ids."""
    prompt: Any = body.prompt
    if isinstance(prompt, list) and isinstance(prompt[0], str):
        (prompt,) = prompt
    return len(prompt) if isinstance(prompt, str) else 0


def conversation_chars(body: ChatBody) -> int:
    """Count the characters of a conversation, without what the template adds."""
    return sum(len(_content(message.content)) for message in body.messages)


def fit(ids: tuple[int, ...], max_tokens: int | None, model: ServedModel, sliding: bool) -> Prompt:
    """Fit prompt and answer into the context, or raise InputError with both numbers.

    ``sliding`` keeps the newest ids that leave room. Without ``max_tokens`` the answer may take what the prompt leaves.
    """
    if sliding:
        wanted = max_tokens or max(1, model.context - len(ids), model.context // SLIDING_SHARE)
        room = model.context - wanted
        ids = ids[-room:] if room > 0 else ids
    else:
        wanted = max_tokens or max(1, model.context - len(ids))
    if len(ids) + wanted > model.context:
        asked = "max_tokens" if max_tokens else "at least"
        raise InputError(
            f"the prompt has {len(ids)} tokens and the answer asks for {asked} {wanted}: {len(ids) + wanted} together; "
            f"the context of {model.name!r} is {model.context}",
            param="max_tokens" if len(ids) < model.context else "prompt",
            code="context_length_exceeded",
        )
    return Prompt(ids=ids, max_tokens=wanted)


def _content(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _bounded(text: str, model: ServedModel, param: str, sliding: bool) -> str:
    """Return a text that could fit the context: refuse or cut a longer one before any work is spent on it."""
    limit_chars = model.context * model.tokenizer.longest_token_chars * NORMALIZED_FACTOR
    if len(text) <= limit_chars:
        return text
    if sliding:
        return text[-limit_chars:]
    raise InputError(
        f"{param!r} has {len(text)} characters: more than the context of {model.name!r}, {model.context} tokens, "
        f"can hold ({limit_chars} characters)",
        param=param,
        code="context_length_exceeded",
    )


def _start(model: ServedModel) -> tuple[int, ...]:
    """Return the ids of an empty prompt: an end token, which also starts texts where a release has no start token."""
    return model.end_ids[:1] or (0,)
