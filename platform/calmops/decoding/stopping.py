"""Decides from token ids alone whether a sequence ends: stop ids, length, full context, runaway repetition.

The scheduler's commit calls it once per new token. It is a pure function of the ids, so a preempted or migrated
sequence ends at the same token as an undisturbed one. It knows neither stop strings (``decoding.stop_text``) nor
deadlines (the engine).
"""

from calmops.decoding.sequence import Sequence

# The guard against repetition loops (failure mode F7). The answer's tail counts as a runaway if it is one cycle of at
# most LOOP_PERIOD_TOKENS tokens, repeated exactly, at least LOOP_CYCLES times and over at least LOOP_TAIL_TOKENS
# tokens. A list of 100 equal entries, a table or a ruler line stays below these bounds. The guard looks once per
# LOOP_CHECK_TOKENS tokens. That costs about LOOP_PERIOD_TOKENS comparisons of two integers, and one comparison of
# tails for each period that agrees in its last two tokens.
LOOP_PERIOD_TOKENS = 64
LOOP_CYCLES = 8
LOOP_TAIL_TOKENS = 256
LOOP_CHECK_TOKENS = 16


def finish_reason(sequence: Sequence, max_model_len: int) -> str | None:
    """Return why the sequence ends with its newest output token, or None if it goes on.

    ``stop`` has precedence over ``length``, and ``length`` over ``loop_guard``. ``max_model_len`` is in tokens, prompt
    and output together.
    """
    output = sequence.output_ids
    params = sequence.params
    count = len(output)
    if output[-1] in sequence.stop_ids:
        return "stop"
    if count >= params.max_tokens or len(sequence.prompt_ids) + count >= max_model_len:
        return "length"
    if count % LOOP_CHECK_TOKENS == 0 and params.loop_guard and loops(output):
        return "loop_guard"
    return None


def loops(ids: list[int]) -> bool:
    """Return whether the tail of ``ids`` is one short cycle, repeated (by the bounds above)."""
    count = len(ids)
    if count < LOOP_TAIL_TOKENS:
        return False
    last = ids[-1]
    before = ids[-2]
    for period in range(1, LOOP_PERIOD_TOKENS + 1):
        if ids[-1 - period] != last or ids[-2 - period] != before:
            continue
        tail = max(LOOP_TAIL_TOKENS, LOOP_CYCLES * period)
        if tail <= count and ids[count - tail : count - period] == ids[count - tail + period :]:
            return True
    return False
