"""Turns log-probabilities into the JSON of both endpoints: the last step before an answer's bytes. Knows no request."""

from collections.abc import Sequence
from typing import Any

from calmops.messages.frame import TokenLogprobs

LEAST = -9999.0  # OpenAI's stand-in for minus infinity, which JSON doesn't have


def chat_logprobs(tokens: Sequence[TokenLogprobs]) -> dict[str, Any]:
    """Return ``choices[].logprobs`` of a chat answer."""
    return {
        "content": [
            _entry(token.token_bytes, token.logprob)
            | {"top_logprobs": [_entry(spelling, logprob) for _, logprob, spelling in token.top]}
            for token in tokens
        ],
        "refusal": None,
    }


def completion_logprobs(tokens: Sequence[TokenLogprobs], offset_chars: int) -> dict[str, Any]:
    """Return ``choices[].logprobs`` of a completion; the first token's text begins at ``offset_chars``."""
    offsets, raw = [], b""
    for token in tokens:
        offsets.append(offset_chars + len(raw.decode("utf-8", "ignore")))
        raw += token.token_bytes
    return {
        "tokens": [_name(token.token_bytes) for token in tokens],
        "token_logprobs": [_finite(token.logprob) for token in tokens],
        "top_logprobs": [_best(token) for token in tokens],
        "text_offset": offsets,
    }


def _entry(spelling: bytes, logprob: float) -> dict[str, Any]:
    return {"token": spelling.decode("utf-8", "replace"), "bytes": list(spelling), "logprob": _finite(logprob)}


def _best(token: TokenLogprobs) -> dict[str, float]:
    """Map the text of each alternative to its log-probability; the chosen token is always among them."""
    best: dict[str, float] = {}
    for _, logprob, spelling in (*token.top, (token.token_id, token.logprob, token.token_bytes)):
        best.setdefault(_name(spelling), _finite(logprob))
    return best


def _name(spelling: bytes) -> str:
    """Return a token's text, or its bytes in OpenAI's notation where they make no text on their own."""
    try:
        return spelling.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in spelling)


def _finite(logprob: float) -> float:
    return max(LEAST, logprob)  # NaN becomes LEAST too
