"""Holds the scheduler's hard bounds, and refuses a sequence that could never run within them. Knows no clock."""

from msgspec import Struct

from calmops.decoding.blocks import blocks_for
from calmops.decoding.sequence import Sequence
from calmops.foundation.errors import ConfigError, InputError
from calmops.messages.plan import BLOCK_TOKENS


class Limits(Struct, frozen=True, kw_only=True):
    """Holds the scheduler's hard bounds; raises ConfigError where they contradict each other."""

    kv_blocks: int
    max_sequences: int  # running at once; a beam search counts as its width
    max_rows_per_step: int  # tokens of one forward pass, at least max_sequences
    max_model_len: int  # tokens of prompt and output together
    max_waiting: int  # sequences; a submission above it is refused
    prefix_cache: bool  # share blocks that other requests filled; False: share within a request only

    def __post_init__(self) -> None:
        for name in ("kv_blocks", "max_sequences", "max_rows_per_step", "max_model_len", "max_waiting"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.max_rows_per_step < self.max_sequences:
            raise ConfigError(
                f"max_rows_per_step is {self.max_rows_per_step}, less than max_sequences "
                f"{self.max_sequences}: a decoding sequence would get no row; raise the first or lower the second"
            )

    def check(self, sequence: Sequence) -> None:
        """Raise InputError, with the limit and the value, for a sequence that could never run."""
        prompt = len(sequence.prompt_ids)
        if not prompt:
            raise InputError("the prompt has 0 tokens; at least 1 is needed", param="prompt")
        if sequence.length >= self.max_model_len:
            raise InputError(
                f"prompt and answer so far have {sequence.length} tokens; the context holds "
                f"{self.max_model_len}, the next token included",
                param="max_tokens",
            )
        if sequence.seats > self.max_sequences:
            raise InputError(
                f"beam_width is {sequence.seats}; this model runs {self.max_sequences} sequences at once",
                param="beam_width",
            )
        # The last token of an answer is never fed, so it needs no room.
        longest = min(prompt + sequence.params.max_tokens, self.max_model_len) - 1
        needed = sequence.seats * blocks_for(longest)
        if needed > self.kv_blocks:
            raise InputError(
                f"prompt + max_tokens needs {needed} cache blocks of {BLOCK_TOKENS} tokens; the replica "
                f"has {self.kv_blocks}: ask for fewer tokens",
                param="max_tokens",
            )
