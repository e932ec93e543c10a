"""Defines the placement, which carries one attempt of a request: gateway to replica, in a unary Serve call."""

from msgspec import Struct

from calmops.messages.request import SamplingParams


class ResumedChoice(Struct, frozen=True, kw_only=True):
    """Holds what a choice had emitted before this attempt: the replica goes on right after it."""

    choice: int
    token_ids: tuple[int, ...]  # journaled ids, in order, from answer index 0
    finished: bool = False  # True: nothing is left to do for this choice


class Placement(Struct, frozen=True, kw_only=True):
    """Holds all that a replica needs to begin a request, or to go on with it."""

    request_id: str
    model: str
    attempt: int  # 1 for the first; frames of an older attempt are dropped
    gateway_id: str  # where the frames go
    stream_token: int  # random 63 bits, the attempt's name at the replica; frames must carry it
    prompt_ids: tuple[int, ...]
    params: SamplingParams
    deadline_ns: int  # wall clock, since another node's monotonic clock means nothing here
    resumed: tuple[ResumedChoice, ...] = ()
    lost: tuple[str, ...] = ()  # replica ids that the router must leave out
    fingerprint: str | None = None  # of the earlier attempt: a replica with an equal one is preferred
    probe: bool = False
    salt: str = ""  # only requests of one salt share cached prompts

    @property
    def tokens(self) -> int:
        """Return the most tokens that it may take: the prompt and n answers."""
        return len(self.prompt_ids) + self.params.n * self.params.max_tokens


class Summary(Struct, frozen=True, kw_only=True):
    """Says how an attempt ended: what the unary call returns when it is over. Its tokens went ahead in frames."""

    stream_token: int  # of the attempt
    error: str | None = None  # set when the replica gave the attempt up ("gateway_slow", "draining", ...)
