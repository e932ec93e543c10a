"""Stop strings match in text that comes in pieces as they do in the whole text."""

from hypothesis import given
from hypothesis import strategies as st

from calmops.decoding.stop_text import StopText

PIECES = st.lists(st.text("ab", max_size=3), max_size=12)
STOPS = st.lists(st.text("ab", min_size=1, max_size=4), max_size=3).map(tuple)


def first_match(text: str, stops: tuple[str, ...]) -> tuple[int, str] | None:
    """Return where the stop string begins that is complete first (of several the longest), and the string."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            longest = max(complete, key=len)
            return end - len(longest), longest
    return None


def run(pieces: list[str], stops: tuple[str, ...]) -> tuple[list[str], str | None, StopText]:
    """Return what each piece released, the stop string that ended the text, and the state."""
    state, released = StopText(stops), []
    for piece in pieces:
        text, match = state.feed(piece)
        released.append(text)
        if match is not None:
            return released, match, state
    text, match = state.finish()
    return [*released, text], match, state


@given(PIECES, STOPS)
def test_released_text_ends_before_the_stop_string_that_is_complete_first(
    pieces: list[str], stops: tuple[str, ...]
) -> None:
    released, match, _ = run(pieces, stops)
    whole = "".join(pieces)
    expected = first_match(whole, stops)
    assert ("".join(released), match) == ((whole, None) if expected is None else (whole[: expected[0]], expected[1]))


@given(PIECES, STOPS)
def test_only_text_that_may_become_a_stop_string_is_held_back(pieces: list[str], stops: tuple[str, ...]) -> None:
    state, fed, given_out = StopText(stops), "", ""
    for piece in pieces:
        text, match = state.feed(piece)
        fed, given_out = fed + piece, given_out + text
        if match is not None:
            return
        held = fed[len(given_out) :]
        assert not held or any(stop.startswith(held) for stop in stops)


@given(PIECES, STOPS)
def test_a_token_counts_as_released_with_the_last_of_its_text(pieces: list[str], stops: tuple[str, ...]) -> None:
    released, _, state = run(pieces, stops)
    chars = len("".join(released))
    ends = [len("".join(pieces[: number + 1])) for number in range(len(pieces))]
    fed = min(len(released), len(pieces))
    assert state.released_tokens == sum(end <= chars for end in ends[:fed])


def test_a_token_with_an_unfinished_character_is_released_with_the_token_that_finishes_it() -> None:
    state = StopText()
    assert state.feed("", unfinished=True) == ("", None)
    assert state.released_tokens == 0
    assert state.feed("é") == ("é", None)
    assert state.released_tokens == 2
