"""The prompt's ids, and whether they fit the context. Pure."""

from typing import Any

from msgspec import Struct

from calmops.foundation.errors import InputError
from calmops.intake.schema import ChatBody
from calmops.intake.served_model import ServedModel

SLIDING_SHARE = 4  # under truncate without max_tokens, a quarter of the context is kept for the answer
NORMALIZED_FACTOR = 4  # a normalizer may shrink text this much before it is cut into tokens


class Prompt(Struct, frozen=True, kw_only=True):
    """Ids that fit, and how many tokens may follow them."""

    ids: tuple[int, ...]
    max_tokens: int


def completion_prompt(prompt: Any, model: ServedModel, sliding: bool) -> tuple[int, ...]:
    """Ids of /v1/completions' prompt in any of its forms. The schema has seen to the forms."""
    if isinstance(prompt, list) and isinstance(prompt[0], str | list):
        (prompt,) = prompt
    if isinstance(prompt, str):
        text = _bounded(prompt, model, "prompt", sliding)
        ids = model.tokenizer.encode(text, framed=True)
    else:
        ids = tuple(prompt)
        highest = max(ids)
        if highest >= model.vocab_size:
            raise InputError(
                f"'prompt' has token id {highest}; {model.name!r} has ids 0 to {model.vocab_size - 1}", param="prompt"
            )
    return ids or _start(model)


def chat_prompt(body: ChatBody, model: ServedModel, sliding: bool) -> tuple[int, ...]:
    """Ids of a conversation, the assistant's turn open. InputError if the model has no template or it refuses."""
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
    if not sliding:
        _bounded("".join(message["content"] for message in messages), model, "messages", sliding)
    return model.template.render(messages) or _start(model)


def text_chars(prompt: Any) -> int:
    """How many characters a completion's prompt has; 0 where it came as ids."""
    if isinstance(prompt, list) and isinstance(prompt[0], str):
        (prompt,) = prompt
    return len(prompt) if isinstance(prompt, str) else 0


def conversation_chars(body: ChatBody) -> int:
    """How many characters a conversation has, without what the template adds."""
    return sum(len(_content(message.content)) for message in body.messages)


def fit(ids: tuple[int, ...], max_tokens: int | None, model: ServedModel, sliding: bool) -> Prompt:
    """Prompt and answer within the context, else InputError with both numbers. ``sliding`` keeps the newest ids.

    Without ``max_tokens`` the answer may take what the prompt leaves.
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
    """Text that could fit the context: more is refused, or cut, before any work is spent on it."""
    limit_chars = model.context * model.tokenizer.longest_token_chars * NORMALIZED_FACTOR
    if len(text) <= limit_chars:
        return text
    if sliding:
        return text[-limit_chars:]
    raise InputError(
        f"{param!r} has {len(text)} characters: more than {model.context} tokens, the context of {model.name!r}, can hold "
        f"({limit_chars} characters)",
        param=param,
        code="context_length_exceeded",
    )


def _start(model: ServedModel) -> tuple[int, ...]:
    """What an empty prompt becomes: the start token, which is an end token where a release has no other."""
    return model.end_ids[:1] or (0,)
