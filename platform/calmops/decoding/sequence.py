"""A sequence: one choice's decoding state in a replica. Mutable; owned by the scheduler that it was submitted to."""

from calmops.messages.placement import Placement
from calmops.messages.request import SamplingParams


class Sequence:
    """One choice of one attempt."""

    __slots__ = (
        "attempt", "blocks", "choice", "computed", "deadline_ns", "ever_computed", "finish_reason", "gateway_id",
        "output_ids", "params", "probe", "prompt_ids", "request_id", "resumed", "stream_token",
    )  # fmt: skip

    def __init__(self, placement: Placement, choice: int, resumed: tuple[int, ...]) -> None:
        self.request_id = placement.request_id
        self.attempt = placement.attempt
        self.choice = choice
        self.gateway_id = placement.gateway_id
        self.stream_token = placement.stream_token
        self.prompt_ids: tuple[int, ...] = placement.prompt_ids
        self.params: SamplingParams = placement.params
        self.deadline_ns = placement.deadline_ns
        self.probe = placement.probe
        self.output_ids = list(resumed)
        self.resumed = len(resumed)  # of output_ids, those that an earlier attempt decoded
        self.computed = 0  # tokens of prompt and output, from the left, whose keys and values are in the cache
        self.ever_computed = self.resumed and len(self.prompt_ids) + self.resumed - 1  # high-water mark, earlier attempts too
        self.blocks: list[int] = []
        self.finish_reason: str | None = None

    @property
    def key(self) -> tuple[str, int, int]:
        """(request id, attempt, choice)."""
        return (self.request_id, self.attempt, self.choice)

    @property
    def length(self) -> int:
        """Tokens of prompt and output."""
        return len(self.prompt_ids) + len(self.output_ids)

    def ids(self, start: int, end: int) -> tuple[int, ...]:
        """Tokens [start, end) of prompt followed by output."""
        prompt = len(self.prompt_ids)
        if start >= prompt:
            return tuple(self.output_ids[start - prompt : end - prompt])
        if end <= prompt:
            return self.prompt_ids[start:end]
        return (*self.prompt_ids[start:], *self.output_ids[: end - prompt])


def from_placement(placement: Placement) -> list[Sequence]:
    """One sequence for each choice that isn't finished."""
    resumed = {one.choice: one for one in placement.resumed}
    sequences = []
    for choice in range(placement.params.n):
        before = resumed.get(choice)
        if before is None:
            sequences.append(Sequence(placement, choice, ()))
        elif not before.finished:
            sequences.append(Sequence(placement, choice, before.token_ids))
    return sequences
