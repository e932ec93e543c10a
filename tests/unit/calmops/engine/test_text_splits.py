"""The pieces of a text make the whole and break no character, however the text is split into tokens."""

import codecs
import itertools
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from calmops.engine.detokenizer import Detokenizer
from calmops.engine.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def vocabulary(llama: Path) -> Vocabulary:
    return Vocabulary(llama)


@pytest.fixture(scope="module")
def by_bytes(llama: Path, vocabulary: Vocabulary) -> dict[bytes, int]:
    """Each token's id by the bytes that it adds to the text; there is a token for every single byte."""
    size = Tokenizer.from_file(str(llama / "tokenizer.json")).get_vocab_size()
    ids = {vocabulary.bytes_of(token_id): token_id for token_id in range(size) if vocabulary.bytes_of(token_id)}
    assert all(bytes([byte]) in ids for byte in range(256))
    return ids


def splits(data: bytes, by_bytes: dict[bytes, int]) -> list[list[int]]:
    """Every way to write ``data`` in tokens."""
    ways: list[list[list[int]]] = [[[]]]
    for end in range(1, len(data) + 1):
        ways.append(
            [[*way, by_bytes[data[at:end]]] for at in range(end) if data[at:end] in by_bytes for way in ways[at]]
        )
    return ways[-1]


@pytest.mark.parametrize(
    "data",
    [
        "naïve café".encode(), "é日👩x".encode(), b"the open", b"\xff\xc3", b"a\xe2\x82b", b"\xf0\x9f\x91",
        b"\xed\xa0\x80", b"\xc0\xaf", "\ufffd!".encode(), b"\xe2\x82\xe2\x82\xac",
    ],
)  # fmt: skip
def test_the_pieces_of_any_split_make_the_whole(
    data: bytes, vocabulary: Vocabulary, by_bytes: dict[bytes, int]
) -> None:
    whole = data.decode(errors="replace")
    for ids in itertools.islice(splits(data, by_bytes), 2000):
        text = Detokenizer(vocabulary, ())
        pieces = []
        for at, token_id in enumerate(ids, start=1):
            pieces.append(text.feed(token_id)[0])
            data_so_far = b"".join(map(vocabulary.bytes_of, ids[:at]))
            whole_characters = codecs.getincrementaldecoder("utf-8")("replace").decode(data_so_far)
            assert "".join(pieces) == whole_characters, "a character is released as soon as it is whole, not before"
        pieces.append(text.finish()[0])
        assert "".join(pieces) == whole, ids
        assert text.released == len(ids)


@pytest.mark.parametrize("stop", ["é", "日👩", "aï", "fé"])
def test_a_stop_string_cuts_any_split_at_the_same_place(
    stop: str, vocabulary: Vocabulary, by_bytes: dict[bytes, int]
) -> None:
    whole = "naïve café日👩x"
    for ids in itertools.islice(splits(whole.encode(), by_bytes), 2000):
        text = Detokenizer(vocabulary, (stop,))
        released, matched = "", None
        for token_id in ids:
            piece, matched = text.feed(token_id)
            released += piece
            if matched:
                break
        assert (released, matched) == (whole[: whole.index(stop)], stop)
