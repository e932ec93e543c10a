"""Holds a sequence: one choice's decoding state in a replica, from its placement to its finish reason.

The scheduler owns it while it lives; the engine reads it. It knows nothing of text.
"""

from dataclasses import dataclass, field

from calmops.foundation.errors import InputError
from calmops.messages.placement import Placement
from calmops.messages.request import SamplingParams


@dataclass(slots=True, eq=False, kw_only=True)
class Sequence:
    """Holds one sequence; mutable, compared by identity. Counts are tokens; ``deadline_ns`` is wall clock."""

    key: tuple[int, int]  # (stream token, choice); the beams of one search share it
    request_id: str  # only for messages: two gateways may have the same id live
    gateway_id: str
    prompt_ids: tuple[int, ...]
    params: SamplingParams
    deadline_ns: int
    output_ids: list[int] = field(default_factory=list)  # the answer from index 0, resumed ids first
    resumed: int = 0  # tokens of output_ids that an earlier attempt emitted
    computed: int = 0  # tokens of prompt + output whose K/V is in the cache
    ever_computed: int = 0  # the highest ``computed`` so far, on this replica or an earlier one
    cached: int = 0  # prompt tokens taken over from shared blocks that no Share has reported yet
    blocks: list[int] = field(default_factory=list)  # its block table, empty while it waits
    salt: bytes = b""  # only sequences of the same salt share blocks
    block_names: list[bytes] = field(default_factory=list)  # names of its full blocks, as far as they were needed
    finish_reason: str | None = None
    probe: bool = False
    stop_ids: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        self.stop_ids = frozenset(self.params.stop_ids)

    @property
    def stream_token(self) -> int:
        """Return the token of the placement that it belongs to."""
        return self.key[0]

    @property
    def choice(self) -> int:
        """Return which of the request's n answers it is, from 0."""
        return self.key[1]

    @property
    def length(self) -> int:
        """Return how many tokens are known, prompt and output."""
        return len(self.prompt_ids) + len(self.output_ids)

    @property
    def pending(self) -> int:
        """Return how many known tokens aren't in the cache; 0 for a beam that waits for its search."""
        return len(self.prompt_ids) + len(self.output_ids) - self.computed

    @property
    def seats(self) -> int:
        """Return how many sequences its unit may grow to: the beam width, or 1."""
        return self.params.beam_width or 1

    def ids(self, start: int, end: int) -> tuple[int, ...]:
        """Return the token ids at positions [start, end) of prompt + output."""
        prompt = len(self.prompt_ids)
        if end <= prompt:
            return self.prompt_ids[start:end]
        return (*self.prompt_ids[start:], *self.output_ids[max(0, start - prompt) : end - prompt])

    def forked(self, token_id: int) -> "Sequence":
        """Return a copy of a beam, one token longer and with nothing in the cache: the scheduler shares the blocks."""
        return Sequence(
            key=self.key,
            request_id=self.request_id,
            gateway_id=self.gateway_id,
            prompt_ids=self.prompt_ids,
            params=self.params,
            deadline_ns=self.deadline_ns,
            output_ids=[*self.output_ids, token_id],
            salt=self.salt,
            ever_computed=self.computed,
            probe=self.probe,
        )


def from_placement(placement: Placement) -> list[Sequence]:
    """Return one sequence per unfinished choice, in choice order.

    A beam search is one sequence, choice 0, and starts from the beginning whatever was resumed: the search forks the
    other beams and names the n best answers at the end. Raises InputError for a choice that has no token left to
    generate (``max_tokens`` ids are resumed already).
    """
    if placement.params.beam_width:
        return [_sequence(placement, 0, ())]
    resumed = {entry.choice: entry for entry in placement.resumed}
    return [
        _sequence(placement, choice, resumed[choice].token_ids if choice in resumed else ())
        for choice in range(placement.params.n)
        if choice not in resumed or not resumed[choice].finished
    ]


def _sequence(placement: Placement, choice: int, resumed_ids: tuple[int, ...]) -> Sequence:
    if len(resumed_ids) >= placement.params.max_tokens:
        raise InputError(
            f"choice {choice} resumes after {len(resumed_ids)} tokens, but max_tokens is "
            f"{placement.params.max_tokens}: nothing is left to generate",
            param="max_tokens",
        )
    # The last resumed token was sampled but never fed; everything before it was computed once.
    known = len(placement.prompt_ids) + len(resumed_ids) - 1 if resumed_ids else 0
    return Sequence(
        key=(placement.stream_token, choice),
        request_id=placement.request_id,
        gateway_id=placement.gateway_id,
        prompt_ids=placement.prompt_ids,
        params=placement.params,
        deadline_ns=placement.deadline_ns,
        output_ids=list(resumed_ids),
        resumed=len(resumed_ids),
        salt=placement.salt.encode(),
        ever_computed=known,
        probe=placement.probe,
    )
