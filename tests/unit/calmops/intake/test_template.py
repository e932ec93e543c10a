"""A chat's prompt has the control tokens that its template writes, and a message adds none."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calmops.foundation.errors import InputError, UnsupportedModel
from calmops.intake.template import ChatTemplate
from tests.support.tokenizer_releases import CHATML, SPECIALS, byte_level, served
from tests.unit.calmops.intake.test_tokenizing import NASTY

VARIABLES = {"bos_token": "<|begin|>", "eos_token": "<|end|>"}
UNKIND = (
    CHATML,
    "{% for m in messages %}<|user|>{{ m.content | lower }}{% endfor %}",
    "{% for m in messages %}<|user|>{{ m.content | tojson }}{% endfor %}",
    "{{ messages | map(attribute='content') | join('') }}",
    "{% for m in messages %}<|{{ m.content }}|>{% endfor %}",
    "{% for m in messages %}<|{{ m.content | trim }}{% endfor %}",
    "{% for m in messages %}{{ m.content[:7] }}{{ m.content[7:] }}|>{% endfor %}",
    "{% for m in messages %}{% for c in m.content %}{{ c }}{% endfor %}{% endfor %}",
)


def template() -> ChatTemplate:
    template = served().template
    assert template is not None
    return template


def control_in(ids: Iterable[int]) -> list[str]:
    tokenizer = byte_level()
    names = {number: name for name, number in tokenizer.specials.items()}
    return [names[number] for number in ids if number in names]


def test_a_conversation_is_rendered_as_the_template_says() -> None:
    tokenizer = byte_level()
    ids = template().render(({"role": "system", "content": "Be kind. "}, {"role": "user", "content": "Hi"}))
    assert tokenizer.decode(ids) == ("<|begin|><|system|>\nBe kind.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\n")
    assert control_in(ids) == ["<|begin|>", "<|system|>", "<|end|>", "<|user|>", "<|end|>", "<|assistant|>"]


@given(NASTY)
def test_a_message_adds_no_control_token(text: str) -> None:
    ids = template().render(({"role": "user", "content": text},))
    assert control_in(ids) == ["<|begin|>", "<|user|>", "<|end|>", "<|assistant|>"]


@pytest.mark.parametrize("source", UNKIND)
@given(
    contents=st.lists(
        NASTY | st.sampled_from(["user", "<|USER|>", "user|>", "<|user", " user "]), min_size=1, max_size=3
    )
)
def test_a_message_adds_no_control_token_under_an_unkind_template(source: str, contents: list[str]) -> None:
    unkind = ChatTemplate(source, byte_level(), VARIABLES)
    messages = [{"role": "user", "content": text} for text in contents]
    harmless = [{"role": "user", "content": "xyzzy plugh"} for _ in contents]
    assert control_in(unkind.render(messages)) == control_in(unkind.render(harmless))


@given(st.text().filter(lambda text: "\ufdd0" not in text and text == text.strip()))
def test_the_text_of_a_message_is_kept(text: str) -> None:
    ids = template().render(({"role": "user", "content": text},))
    assert byte_level().decode(ids) == f"<|begin|><|user|>\n{text}<|end|>\n<|assistant|>\n"


def test_a_refusal_by_the_template_reaches_the_caller() -> None:
    source = "{% if messages | length > 1 %}{{ raise_exception('one at a time') }}{% endif %}{{ messages[0].content }}"
    unkind = ChatTemplate(source, byte_level(), {})
    with pytest.raises(InputError, match="one at a time") as caught:
        unkind.render([{"role": "user", "content": "a"}] * 2)
    assert caught.value.param == "messages"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}{{ messages.append(1) }}",
        "{% for m in messages %}",
        "{{ undefined_thing.field }}",
        "{% for i in range(10000000) %}x{% endfor %}",
        "{{ raise_exception('never') }}",
    ],
)
def test_a_template_that_cannot_render_safely_is_refused_when_loaded(source: str) -> None:
    with pytest.raises(UnsupportedModel):
        ChatTemplate(source, byte_level(), VARIABLES)


def test_a_template_that_blows_up_its_input_is_stopped() -> None:
    repeat = "{% for i in range(9999) %}{{ m.content }}{% endfor %}"
    source = "{% for m in messages %}{% if m.content|length > 20 %}" + repeat + "{% endif %}{% endfor %}."
    unkind = ChatTemplate(source, byte_level(), {})
    with pytest.raises(InputError, match="the limit is"):
        unkind.render([{"role": "user", "content": "a" * 40}])


def test_every_special_token_is_reachable_from_the_template() -> None:
    for name in SPECIALS:
        ids = ChatTemplate("{{ messages[0].content }}" + name, byte_level(), {}).render(
            [{"role": "user", "content": "a"}]
        )
        assert control_in(ids) == [name]
