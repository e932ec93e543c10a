"""A detokenizer releases whole characters, however they are split, and goes on identically from any prefix."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from calmops.engine.detokenizer import Detokenizer
from calmops.engine.vocabulary import Vocabulary

TEXTS = ("naïve café", "日本語テキスト", "👩‍👩‍👧 family", "def f(x):\n\treturn x  # ünï", "\u0000\u200b\ufeff", "")


@pytest.fixture(scope="module")
def vocabulary(llama: Path) -> Vocabulary:
    return Vocabulary(llama)


@pytest.fixture(scope="module")
def tokenizer(llama: Path) -> Tokenizer:
    return Tokenizer.from_file(str(llama / "tokenizer.json"))


def pieces_of(detokenizer: Detokenizer, ids: list[int]) -> list[str]:
    return [detokenizer.feed(token_id)[0] for token_id in ids]


@pytest.mark.parametrize("text", TEXTS)
def test_every_piece_is_whole_characters_and_all_pieces_are_the_text(
    vocabulary: Vocabulary, tokenizer: Tokenizer, text: str
) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    detokenizer = Detokenizer(vocabulary, ())
    pieces = pieces_of(detokenizer, ids)
    assert "".join(pieces) + detokenizer.finish()[0] == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert detokenizer.released == len(ids)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_detokenizer_rebuilt_from_a_prefix_goes_on_identically(data: st.DataObject, vocabulary: Vocabulary) -> None:
    ids = data.draw(st.lists(st.integers(0, vocabulary.size - 1), max_size=40))
    at = data.draw(st.integers(0, len(ids)))
    stops = tuple(data.draw(st.lists(st.text("ab \n", min_size=1, max_size=3), max_size=2)))
    whole = Detokenizer(vocabulary, stops)
    before = []
    for token_id in ids[:at]:
        text, match = whole.feed(token_id)
        before.append(text)
        if match is not None:
            return
    rebuilt = Detokenizer(vocabulary, stops, ids[:at])
    assert rebuilt.released == whole.released
    for token_id in ids[at:]:
        step = whole.feed(token_id)
        assert step == rebuilt.feed(token_id)
        if step[1] is not None:
            return
    assert whole.finish() == rebuilt.finish()


def test_an_unfinished_character_is_held_back_until_it_is_whole(vocabulary: Vocabulary, tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("é", add_special_tokens=False).ids
    if len(ids) == 1:
        ids = tokenizer.encode("語", add_special_tokens=False).ids
    detokenizer = Detokenizer(vocabulary, ())
    assert len(ids) > 1
    assert [detokenizer.feed(token_id)[0] for token_id in ids[:-1]] == [""] * (len(ids) - 1)
    assert detokenizer.released == 0
    assert detokenizer.feed(ids[-1])[0] in {"é", "語"}
