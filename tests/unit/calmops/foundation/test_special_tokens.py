"""An added token is special by the file's flag; it is a control token by that flag or by its shape."""

from typing import Any

import pytest

from calmops.foundation.special_tokens import added_tokens


def entry(content: str, *, special: bool, **more: Any) -> dict[str, Any]:
    return {"id": 5, "content": content, "special": special, **more}


@pytest.mark.parametrize(
    ("content", "special", "control"),
    [
        ("<|end|>", True, True),
        ("</s>", True, True),
        ("plain but flagged", True, True),
        ("<tool_call>", False, True),
        ("[INST]", False, True),
        ("[/INST]", False, True),
        ("", False, False),
        ("    ", False, False),
        ("<not one>", False, False),
        ("[lower]", False, False),
        ("<a><b>", False, False),
    ],
)
def test_a_token_is_control_by_its_flag_or_its_shape(content: str, special: bool, control: bool) -> None:
    (token,) = added_tokens({"added_tokens": [entry(content, special=special)]})
    assert (token.token_id, token.content, token.special, token.control) == (5, content, special, control)


def test_white_space_is_stripped_where_the_file_says_so() -> None:
    given = [entry("<a>", special=True, lstrip=True), entry("<b>", special=True, rstrip=True, lstrip=False)]
    tokens = added_tokens({"added_tokens": given})
    assert [(token.strips_before, token.strips_after) for token in tokens] == [(True, False), (False, True)]


def test_a_tokenizer_without_added_tokens_has_none() -> None:
    assert added_tokens({}) == ()


def test_an_incomplete_entry_is_an_error() -> None:
    with pytest.raises(KeyError):
        added_tokens({"added_tokens": [{"id": 5, "content": "<a>"}]})
