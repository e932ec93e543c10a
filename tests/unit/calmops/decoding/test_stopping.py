"""A sequence ends by its ids alone for the right reason, and at the right token."""

import pytest

from calmops.decoding.sequence import Sequence
from calmops.decoding.stopping import LOOP_CYCLES, LOOP_PERIOD_TOKENS, LOOP_TAIL_TOKENS, finish_reason, loops
from tests.support.placements import sequences

STOP_ID = 7


def sequence(output: list[int], **params: object) -> Sequence:
    """Make a sequence with this output after a prompt of 4 tokens."""
    (made,) = sequences("r", 4, stop_ids=(STOP_ID,), **{"max_tokens": 1000, **params})
    made.output_ids += output
    return made


def cycle(period: int, tokens: int) -> list[int]:
    return [100 + index % period for index in range(tokens)]


@pytest.mark.parametrize(
    ("why", "output", "params", "max_model_len", "reason"),
    [
        ("no reason to end", [1, 2], {}, 100, None),
        ("a stop id", [1, STOP_ID], {}, 100, "stop"),
        ("a stop id that isn't the last is ignored", [STOP_ID, 1], {}, 100, None),
        ("max_tokens", [1, 2], {"max_tokens": 2}, 100, "length"),
        ("a full context", [1, 2], {}, 6, "length"),
        ("a stop id has precedence over length", [1, STOP_ID], {"max_tokens": 2}, 100, "stop"),
        ("a runaway", cycle(3, LOOP_TAIL_TOKENS), {}, 4000, "loop_guard"),
        (
            "length has precedence over a runaway",
            cycle(3, LOOP_TAIL_TOKENS),
            {"max_tokens": LOOP_TAIL_TOKENS},
            4000,
            "length",
        ),
        ("a runaway with the guard off", cycle(3, LOOP_TAIL_TOKENS), {"loop_guard": False}, 4000, None),
    ],
)
def test_a_sequence_ends_for_the_first_reason_that_applies(
    why: str, output: list[int], params: dict[str, object], max_model_len: int, reason: str | None
) -> None:
    assert finish_reason(sequence(output, **params), max_model_len) == reason, why


@pytest.mark.parametrize("period", [1, 2, 3, 31, 32, 33, LOOP_PERIOD_TOKENS])
def test_a_cycle_counts_as_a_runaway_only_when_it_is_long_enough(period: int) -> None:
    tail = max(LOOP_TAIL_TOKENS, LOOP_CYCLES * period)
    assert loops([1, 2, 3, *cycle(period, tail)])
    assert not loops([1, 2, 3, *cycle(period, tail - 1)])
    broken = cycle(period, tail)
    broken[len(broken) // 2] = 0
    assert not loops(broken)


def test_a_cycle_with_a_longer_period_than_the_bound_is_no_runaway() -> None:
    assert not loops(cycle(LOOP_PERIOD_TOKENS + 1, 20 * LOOP_PERIOD_TOKENS))
