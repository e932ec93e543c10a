"""Text under every split into tokens: the pieces make the whole, and break no character."""

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
    """Each token's id by what it adds to the text; every single byte is one of them."""
    size = Tokenizer.from_file(str(llama / "tokenizer.json")).get_vocab_size()
    found = {vocabulary.bytes_of(token_id): token_id for token_id in range(size) if vocabulary.bytes_of(token_id)}
    assert all(bytes([byte]) in found for byte in range(256))
    return found


def splits(data: bytes, by_bytes: dict[bytes, int]) -> list[list[int]]:
    """Every way to say ``data`` in tokens."""
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
def test_whatever_the_split_the_pieces_make_the_whole(
    data: bytes, vocabulary: Vocabulary, by_bytes: dict[bytes, int]
) -> None:
    whole = data.decode(errors="replace")
    for ids in itertools.islice(splits(data, by_bytes), 2000):
        text = Detokenizer(vocabulary, ())
        pieces = []
        for at, token_id in enumerate(ids, start=1):
            pieces.append(text.feed(token_id)[0])
            said = codecs.getincrementaldecoder("utf-8")("replace").decode(b"".join(map(vocabulary.bytes_of, ids[:at])))
            assert "".join(pieces) == said, "a character is told as soon as it is whole, and not before"
        pieces.append(text.finish()[0])
        assert "".join(pieces) == whole, ids
        assert text.released == len(ids)


@pytest.mark.parametrize("stop", ["é", "日👩", "aï", "fé"])
def test_whatever_the_split_a_stop_string_cuts_at_the_same_place(
    stop: str, vocabulary: Vocabulary, by_bytes: dict[bytes, int]
) -> None:
    whole = "naïve café日👩x"
    for ids in itertools.islice(splits(whole.encode(), by_bytes), 2000):
        text = Detokenizer(vocabulary, (stop,))
        said, matched = "", None
        for token_id in ids:
            piece, matched = text.feed(token_id)
            said += piece
            if matched:
                break
        assert (said, matched) == (whole[: whole.index(stop)], stop)
