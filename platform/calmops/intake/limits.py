"""Bounds what one request may ask for. Parsing checks them before a request is placed; they know no model.

Every limit is inclusive.
"""

from msgspec import Struct

MAX_BEAM_WIDTH = 8
MAX_STOPS = 16  # stop strings of one request, and stop ids
MAX_STOP_CHARS = 256  # of one stop string
MAX_LOGPROBS = 20  # alternatives per token
MAX_LOGIT_BIASES = 1024
MAX_MESSAGES = 1024


class IntakeLimits(Struct, frozen=True, kw_only=True):
    """Holds the limits that calmops.yaml sets (``limits``). The gateway fills it in."""

    body_bytes: int
    n: int
    timeout_s: float  # the longest that a client may ask for, and the default of a request that names none
