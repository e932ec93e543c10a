"""Bounds on what a client may ask for, in one record. The gateway fills it from calmops.yaml."""

from msgspec import Struct


class IntakeLimits(Struct, frozen=True, kw_only=True):
    """Every limit is inclusive."""

    body_bytes: int = 4 * 1024 * 1024
    n: int = 8
    beam_width: int = 8
    stops: int = 16  # stop strings, and stop ids, of one request
    stop_chars: int = 256  # of one stop string
    logprobs: int = 20  # alternatives a token
    logit_biases: int = 1024
    messages: int = 1024
    timeout_s: float = 600.0  # the longest a client may ask for, and what it gets when it doesn't ask
