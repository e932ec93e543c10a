"""Encodes answers as OpenAI's API shows them: a stream's server-sent events, one whole body, or an error.

The last step of a token before its HTTP response. Bytes go out; no HTTP server is known here. ``StreamAnswer`` runs
once per step of a stream, so everything that stays the same in a request is encoded once.
"""

from typing import Any, Protocol

import msgspec

from calmops.foundation.errors import CalmopsError, InputError
from calmops.intake.logprobs import chat_logprobs, completion_logprobs
from calmops.intake.validate import Intake
from calmops.messages.frame import TokenLogprobs

KEEPALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"
SHOWN_REASONS = frozenset(("stop", "length", "loop_guard"))  # every other reason ends in an error
ENCODER = msgspec.json.Encoder()

# Readers that split text at Unicode's line breaks would split an event: JSON can write them as escapes.
LINE_BREAKS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


class Taken(Protocol):
    """Describes one journaled delta, as the stream's journal hands it over."""

    @property
    def choice(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def released(self) -> int:
        """Return how many tokens, counted from any index, this delta releases the text of."""
        ...

    @property
    def logprobs(self) -> tuple[TokenLogprobs, ...] | None: ...
    @property
    def finish_reason(self) -> str | None: ...
    @property
    def event_id(self) -> str: ...


class _Withheld:
    """Keeps the log-probabilities of tokens whose text isn't released yet, and how many characters have been."""

    __slots__ = ("chars", "tokens")

    def __init__(self, chars: int) -> None:
        self.chars = chars
        self.tokens: list[TokenLogprobs] = []

    def release(self, taken: Taken) -> list[TokenLogprobs]:
        """Add the delta's tokens, then take out and return those that it releases."""
        self.tokens.extend(taken.logprobs or ())
        released, self.tokens = self.tokens[: taken.released], self.tokens[taken.released :]
        return released


class StreamAnswer:
    """Encodes one streamed answer. Events come in order; ``end`` closes a stream that had no error."""

    def __init__(self, intake: Intake, *, created: int) -> None:
        """``created`` is Unix time, s."""
        self._chat = intake.kind == "chat"
        self._echo = json_text(intake.prompt_text)[1:-1] if intake.echo else b""
        self._wants_logprobs = intake.request.params.logprobs is not None
        self._include_usage = intake.include_usage
        self._head = ENCODER.encode(_head(intake, created, stream=True))[:-1]
        opening = b"\ndata: " + self._head + b',"choices":[{"index":'
        text_key = b',"delta":{"content":' if self._chat else b',"text":'
        choices = range(intake.request.params.n)
        self._openings = [opening + str(choice).encode() + text_key for choice in choices]
        self._first = b',"delta":{"role":"assistant","content":' if self._chat else b',"text":'
        self._firsts: dict[int, bytes] = {choice: opening + str(choice).encode() + self._first for choice in choices}
        self._after_text = b"}" if self._chat else b""
        self._closing = b'}],"usage":null}\n\n' if self._include_usage else b"}]}\n\n"
        self._plain = self._after_text + b',"logprobs":null,"finish_reason":null' + self._closing
        self._withheld = [_Withheld(len(intake.prompt_text) if intake.echo else 0) for _ in choices]

    def event(self, taken: Taken) -> bytes:
        """Encode one event of one choice."""
        choice = taken.choice
        text = json_text(taken.text)
        opening = self._firsts.pop(choice, None) if self._firsts else None
        if opening is None:
            opening = self._openings[choice]
        elif self._echo:
            text = b'"' + self._echo + text[1:]
        if taken.finish_reason is None and not self._wants_logprobs:
            return b"id: " + taken.event_id.encode() + opening + text + self._plain
        reason = taken.finish_reason
        return b"".join(
            (
                b"id: ",
                taken.event_id.encode(),
                opening,
                text,
                self._after_text,
                b',"logprobs":',
                self._logprobs(taken),
                b',"finish_reason":',
                json_text(reason) if reason in SHOWN_REASONS else b"null",
                self._closing,
            )  # fmt: skip
        )

    def end(self, prompt_tokens: int, completion_tokens: int) -> bytes:
        """Encode the end of the stream: the usage chunk, if the request asks for it, and [DONE]."""
        if not self._include_usage:
            return DONE
        counts = ENCODER.encode(usage(prompt_tokens, completion_tokens))
        return b"data: " + self._head + b',"choices":[],"usage":' + counts + b"}\n\n" + DONE

    def _logprobs(self, taken: Taken) -> bytes:
        if not self._wants_logprobs:
            return b"null"
        withheld = self._withheld[taken.choice]
        tokens = withheld.release(taken)
        offset_chars = withheld.chars
        withheld.chars += len(taken.text)
        if not tokens:
            return b"null"
        shape = chat_logprobs(tokens) if self._chat else completion_logprobs(tokens, offset_chars)
        return _on_one_line(shape)


class Answer:
    """Collects one whole answer, step by step."""

    def __init__(self, intake: Intake, *, created: int) -> None:
        """``created`` is Unix time, s."""
        self._intake = intake
        self._created = created
        choices = range(intake.request.params.n)
        self._texts: list[list[str]] = [[intake.prompt_text] if intake.echo else [] for _ in choices]
        self._withheld = [_Withheld(0) for _ in choices]
        self._released: list[list[TokenLogprobs]] = [[] for _ in choices]
        self._reasons: list[str | None] = [None for _ in choices]

    def add(self, taken: Taken) -> None:
        """Add one delta."""
        choice = taken.choice
        self._texts[choice].append(taken.text)
        self._released[choice] += self._withheld[choice].release(taken)
        if taken.finish_reason in SHOWN_REASONS:
            self._reasons[choice] = taken.finish_reason

    def body(self, prompt_tokens: int, completion_tokens: int) -> bytes:
        """Encode the JSON body."""
        body = _head(self._intake, self._created, stream=False)
        body["choices"] = [self._choice(choice) for choice in range(len(self._texts))]
        body["usage"] = usage(prompt_tokens, completion_tokens)
        return ENCODER.encode(body)

    def _choice(self, choice: int) -> dict[str, Any]:
        text, tokens = "".join(self._texts[choice]), self._released[choice]
        wanted = self._intake.request.params.logprobs is not None
        shown: dict[str, Any] = {"index": choice, "finish_reason": self._reasons[choice]}
        if self._intake.kind == "chat":
            shown["message"] = {"role": "assistant", "content": text, "refusal": None}
            shown["logprobs"] = chat_logprobs(tokens) if wanted else None
        else:
            shown["text"] = text
            shown["logprobs"] = completion_logprobs(tokens, len(self._intake.prompt_text)) if wanted else None
        return shown


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Return the token counts as the API shows them."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def error_body(error: Exception) -> dict[str, Any]:
    """Return ``{"error": {message, type, param, code}}``.

    Only an error that calmops raises on purpose has words for the client; any other is an internal error and shows
    nothing of itself.
    """
    if not isinstance(error, CalmopsError):
        return {"error": {"message": "internal error", "type": "server_error", "param": None, "code": None}}
    param = error.param if isinstance(error, InputError) else None
    return {"error": {"message": str(error), "type": error.type, "param": param, "code": error.code}}


def error_event(error: CalmopsError) -> bytes:
    """Encode an error inside a stream. The stream ends after it, without [DONE]."""
    return b"data: " + ENCODER.encode(error_body(error)) + b"\n\n"


def json_text(text: str) -> bytes:
    """Encode a text as a JSON string that stays on one line for every reader."""
    return ENCODER.encode(text) if text.isascii() else _on_one_line(text)


def _on_one_line(value: Any) -> bytes:
    return ENCODER.encode(value).decode().translate(LINE_BREAKS).encode()


def _head(intake: Intake, created: int, *, stream: bool) -> dict[str, Any]:
    chat = intake.kind == "chat"
    whole, chunk = ("chat.completion", "chat.completion.chunk") if chat else ("text_completion", "text_completion")
    return {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{intake.request.request_id}",
        "object": chunk if stream else whole,
        "created": created,
        "model": intake.request.model,
    }
