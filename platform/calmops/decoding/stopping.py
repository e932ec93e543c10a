"""When a sequence ends: a stop id, its max_tokens, the context, or a runaway repetition (failure mode F7). Pure."""

from calmops.decoding.sequence import Sequence

LOOP_PERIOD_TOKENS = 64  # longest cycle that is looked for
LOOP_REPEATS = 8  # a cycle must have come this often in a row ...
LOOP_TOKENS = 192  # ... and over at least this many tokens
LOOP_LOOK_EVERY = 16  # tokens between two looks


def finish_reason(sequence: Sequence, max_model_len: int) -> str | None:
    """Why the sequence ends with its newest token; None if it goes on."""
    params = sequence.params
    output = sequence.output_ids
    if output[-1] in params.stop_ids:
        return "stop"
    if len(output) >= params.max_tokens or sequence.length >= max_model_len:
        return "length"
    if params.loop_guard and len(output) % LOOP_LOOK_EVERY == 0 and loops(output):
        return "loop_guard"
    return None


def loops(output: list[int]) -> bool:
    """True if the output ends in one cycle, repeated LOOP_REPEATS times over at least LOOP_TOKENS tokens."""
    if len(output) < LOOP_TOKENS:
        return False
    newest = output[-1]
    for period in range(1, LOOP_PERIOD_TOKENS + 1):
        if output[-1 - period] != newest:
            continue
        window = max(LOOP_TOKENS, LOOP_REPEATS * period)
        if len(output) >= window:
            tail = output[-window:]
            if tail[period:] == tail[:-period]:
                return True
    return False
