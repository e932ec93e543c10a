"""Server-sent events as bytes: what every stream shares. Knows no request."""

import msgspec

from calmops.foundation.errors import CalmopsError
from calmops.intake.error_body import error_body

KEEPALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"
LINE_BREAKS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})
ENCODER = msgspec.json.Encoder()


def json_text(text: str) -> bytes:
    """A JSON string that stays on one line for every reader, those that split at Unicode's line breaks included."""
    if text.isascii():
        return ENCODER.encode(text)
    return ENCODER.encode(text).decode().translate(LINE_BREAKS).encode()


def error_event(error: CalmopsError) -> bytes:
    """An error inside a stream. The stream ends after it, without [DONE]."""
    return b"data: " + ENCODER.encode(error_body(error)) + b"\n\n"
