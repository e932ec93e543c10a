"""Defines a captured request with its content: gateway to file, and file to `calmops replay`.

It is written only where capture is on.
"""

from msgspec import Struct

from calmops.messages.request import SamplingParams


class Captured(Struct, frozen=True, kw_only=True):
    """Holds one ended request: its prompt, its parameters and every token that was drawn."""

    request_id: str
    model: str
    at_ns: int  # wall, when it ended
    outcome: str
    fingerprint: str | None  # of the replica that decoded last
    params: SamplingParams
    prompt_ids: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]  # the token ids of each choice
    cache_salt: str = ""
    end_ids: tuple[int, ...] = ()  # the model's end tokens: the ones of params.stop_ids that the caller didn't write
