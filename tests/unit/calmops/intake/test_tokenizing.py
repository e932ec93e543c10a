"""A client's text never yields a control token, whatever it says."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calmops.foundation.errors import ReleaseError, TokenizationError
from calmops.intake.tokenizing import TextTokenizer
from tests.support.tokenizer_releases import SPECIALS, byte_level, unigram, word_level

CONTROL = [*SPECIALS, "<tool_call>"]
NASTY = st.lists(
    st.sampled_from([*CONTROL, "<|", "|>", "user", "<", " ", "\x00", "\ud800", "\ufdd0", "é", "🙂", "<|us", "er|>"])
    | st.text(max_size=5),
    max_size=12,
).map("".join)


@given(NASTY)
def test_a_byte_level_tokenizer_never_yields_a_control_token_for_text(text: str) -> None:
    tokenizer = byte_level()
    assert set(tokenizer.encode(text)).isdisjoint(tokenizer.specials.values())


@given(NASTY)
def test_a_vocabulary_with_control_strings_as_words_yields_none_of_them(text: str) -> None:
    for tokenizer in (word_level(), unigram()):
        control = {number for name, number in tokenizer.specials.items() if name != "<unk>"}
        assert set(tokenizer.encode(text)).isdisjoint(control)


@given(st.text())
def test_text_is_the_same_after_encoding_and_decoding(text: str) -> None:
    tokenizer = byte_level()
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(NASTY)
def test_text_with_control_strings_is_decoded_as_text(text: str) -> None:
    tokenizer = byte_level()
    mended = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert tokenizer.decode(tokenizer.encode(text)) == mended


def test_an_added_token_shaped_like_control_counts_as_control() -> None:
    assert "<tool_call>" in byte_level().specials


def test_a_framed_prompt_begins_with_the_releases_own_start_token() -> None:
    tokenizer = byte_level()
    assert tokenizer.encode("fox", framed=True) == (tokenizer.specials["<|begin|>"], *tokenizer.encode("fox"))


@pytest.mark.parametrize("spec", ["", "{}", "[]", "null", '{"model": 3}'])
def test_a_file_that_is_no_tokenizer_is_a_release_error(spec: str) -> None:
    with pytest.raises(ReleaseError):
        TextTokenizer(spec)


def test_an_error_of_the_tokenizer_names_its_model_and_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError("no merges")

    tokenizer = TextTokenizer(byte_level().spec, "m")
    monkeypatch.setattr(tokenizer, "_tokenizer", SimpleNamespace(encode=breaks, decode=breaks))
    for act, stage in ((lambda: tokenizer.encode("x"), "encode"), (lambda: tokenizer.decode((1,)), "decode")):
        with pytest.raises(TokenizationError, match="the tokenizer of 'm' broke") as broken:
            act()
        assert (broken.value.model, broken.value.stage) == ("m", stage)
