"""A request with its content, kept only where capture is on: gateway to file, file to `calmops replay`."""

from msgspec import Struct

from calmops.messages.request import SamplingParams


class Captured(Struct, frozen=True, kw_only=True):
    """One ended request: what was asked, and every token that was drawn."""

    request_id: str
    model: str
    at_ns: int  # wall, when it ended
    outcome: str
    fingerprint: str | None  # of the replica that decoded last
    params: SamplingParams
    prompt_ids: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]  # token ids of each choice
    cache_salt: str = ""
    end_ids: tuple[int, ...] = ()  # the model's: which of the parameters' stop_ids its caller didn't write
