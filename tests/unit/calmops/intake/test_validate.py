"""A bad body is refused with the parameter's name, the limit and the value; a good one becomes a request."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calmops.foundation.errors import InputError, UnknownModel
from calmops.intake.validate import Context, Intake, parse_chat, parse_completion
from tests.support.tokenizer_releases import CONTEXT, byte_level, context, intake_limits, served

Call = Callable[..., Intake]
Parse = Callable[[bytes, Context], Intake]
PROMPT: dict[str, Any] = {"model": "tiny", "prompt": "the fox"}
CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
IMAGE = [{"type": "image_url"}]


def completion(**fields: Any) -> Intake:
    return parse_completion(json.dumps(PROMPT | fields).encode(), context())


def chat(**fields: Any) -> Intake:
    return parse_chat(json.dumps(CHAT | fields).encode(), context())


REFUSED = [
    # call, fields, param, words in the message
    (completion, {"temperature": -0.5}, "temperature", ["0", "-0.5"]),
    (completion, {"temperature": 2.5}, "temperature", ["2", "2.5"]),
    (completion, {"temperature": "1"}, "temperature", ["number", '"1"']),
    (completion, {"top_p": 0}, "top_p", ["greater than 0", "given: 0"]),
    (completion, {"top_p": 1.01}, "top_p", ["1", "1.01"]),
    (completion, {"n": 9}, "n", ["9", "8"]),
    (completion, {"n": 0}, "n", ["1", "0"]),
    (completion, {"n": True}, "n", ["integer", "true"]),
    (completion, {"max_tokens": 0}, "max_tokens", ["1", "0"]),
    (completion, {"max_tokens": 1.5}, "max_tokens", ["integer", "1.5"]),
    (completion, {"prompt": None}, "prompt", ["null"]),
    (completion, {"prompt": []}, "prompt", ["[]"]),
    (completion, {"prompt": ["a", "b"]}, "prompt", ["1", "2"]),
    (completion, {"prompt": [[1], [2]]}, "prompt", ["1", "2"]),
    (completion, {"prompt": [1, -1]}, "prompt[1]", ["0", "-1"]),
    (completion, {"prompt": [1, 400]}, "prompt", ["400"]),
    (completion, {"prompt": [1, "a"]}, "prompt[1]", ["integer"]),
    (completion, {"model": 3}, "model", ["string", "3"]),
    (completion, {"stop": [""]}, "stop[0]", ["1"]),
    (completion, {"stop": ["a"] * 17}, "stop", ["17", "16"]),
    (completion, {"stop": "a" * 257}, "stop", ["257", "256"]),
    (completion, {"stop_token_ids": [400]}, "stop_token_ids", ["400"]),
    (completion, {"logit_bias": {"400": 1}}, "logit_bias", ["400"]),
    (completion, {"logit_bias": {"x": 1}}, "logit_bias.x", ["pattern"]),
    (completion, {"logit_bias": {"1": 101}}, "logit_bias.1", ["100", "101"]),
    (completion, {"logprobs": 21}, "logprobs", ["21", "20"]),
    (completion, {"best_of": 3, "n": 2}, "best_of", ["3", "2"]),
    (completion, {"echo": True, "logprobs": 1}, "echo", ["logprobs"]),
    (completion, {"suffix": "x"}, "suffix", ["isn't supported"]),
    (completion, {"tools": []}, "tools", ["unknown"]),
    (completion, {"beam_width": 9}, "beam_width", ["9", "8"]),
    (completion, {"beam_width": 2, "stream": True}, "beam_width", ["stream"]),
    (completion, {"beam_width": 2, "n": 3}, "n", ["3", "2"]),
    (completion, {"timeout": 0}, "timeout", ["0"]),
    (completion, {"timeout": 601}, "timeout", ["601", "600"]),
    (completion, {"truncate": "left"}, "truncate", ["sliding", "left"]),
    (completion, {"stream_options": {"include_usage": True}}, "stream_options", ["stream"]),
    (completion, {"stream": True, "stream_options": {"other": 1}}, "stream_options.other", ["unknown"]),
    (completion, {"seed": 2**63}, "seed", [str(2**63 - 1), str(2**63)]),
    (completion, {"prompt": "a" * 200, "max_tokens": 16}, "prompt", ["16", str(CONTEXT)]),
    (completion, {"max_tokens": CONTEXT}, "max_tokens", [str(CONTEXT)]),
    (completion, {"prompt": "a" * 10**6}, "prompt", [str(10**6), str(CONTEXT)]),
    (completion, {"prompt": "a", "max_tokens": CONTEXT, "truncate": "sliding"}, "max_tokens", [str(CONTEXT)]),
    (chat, {"messages": []}, "messages", ["1", "[]"]),
    (chat, {"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", ["tool"]),
    (chat, {"messages": [{"role": "user"}]}, "messages[0].content", ["required"]),
    (chat, {"messages": [{"role": "user", "content": None}]}, "messages[0].content", ["null"]),
    (chat, {"messages": [{"role": "user", "content": "x", "name": "bob"}]}, "messages[0].name", ["supported"]),
    (chat, {"messages": [{"role": "user", "content": IMAGE}]}, "messages[0].content[0].type", ["text"]),
    (chat, {"messages": CHAT["messages"] * 1025}, "messages", ["1025", "1024"]),
    (chat, {"top_logprobs": 2}, "top_logprobs", ["2", "logprobs"]),
    (chat, {"logprobs": True, "top_logprobs": 21}, "top_logprobs", ["21", "20"]),
    (chat, {"max_tokens": 3, "max_completion_tokens": 4}, "max_completion_tokens", ["3", "4"]),
    (chat, {"model": "bare"}, "model", ["chat template"]),
    (chat, {"tools": [{"type": "function"}]}, "tools", ["isn't supported"]),
    (chat, {"response_format": {"type": "json_object"}}, "response_format", ["isn't supported"]),
    (chat, {"modalities": ["text", "audio"]}, "modalities", ["isn't supported"]),
    (chat, {"never_heard_of": None}, "never_heard_of", ["unknown"]),
]  # fmt: skip


@pytest.mark.parametrize(("call", "fields", "param", "words"), REFUSED)
def test_bad_input_is_refused_with_its_name_the_limit_and_the_value(
    call: Call, fields: dict[str, Any], param: str, words: Any
) -> None:
    with pytest.raises(InputError) as caught:
        call(**fields)
    assert caught.value.param == param
    assert caught.value.status == 400
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b'{"model": NaN}', b"\xff", b'"x"', b"[" * 100_000, b"1" * 5000]
)
def test_a_body_that_is_no_json_object_is_refused(raw: bytes) -> None:
    for parse in (parse_completion, parse_chat):
        with pytest.raises(InputError) as caught:
            parse(raw, context())
        assert caught.value.code == "invalid_json"


def test_an_unknown_model_is_refused_as_not_found() -> None:
    with pytest.raises(UnknownModel, match="tiny") as caught:
        completion(model="huge")
    assert (caught.value.status, caught.value.param, caught.value.code) == (404, "model", "model_not_found")


def test_a_body_over_the_limit_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(InputError, match="the limit is 10"):
        parse_completion(b"x" * 11, context(intake_limits(body_bytes=10)))


def test_unsupported_parameters_that_ask_for_nothing_are_accepted() -> None:
    chat(
        tools=None, response_format={"type": "text"}, store=False, modalities=["text"], user="me", safety_identifier="x"
    )
    completion(suffix=None, best_of=1, metadata={}, temperature=None, stop=None)
    spoken: dict[str, Any] = {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
        "tool_calls": None,
        "annotations": [],
    }
    chat(messages=[*CHAT["messages"], spoken])


def test_a_completion_defaults_to_sixteen_tokens_and_a_chat_to_what_fits() -> None:
    assert completion().request.params.max_tokens == 16
    request = chat().request
    assert request.params.max_tokens == CONTEXT - len(request.prompt_ids)


def test_every_parameter_reaches_the_request() -> None:
    params = completion(
        max_tokens=5, temperature=0.5, top_p=0.9, top_k=7, min_p=0.1, repetition_penalty=1.2, presence_penalty=-1,
        frequency_penalty=2, logit_bias={"5": -100}, seed=11, n=2, stop=["a", "b", "a"], stop_token_ids=[9], logprobs=3,
        loop_guard=False,
    ).request.params  # fmt: skip
    end = byte_level().specials["<|end|>"]
    assert (params.max_tokens, params.temperature, params.top_p, params.top_k, params.min_p) == (5, 0.5, 0.9, 7, 0.1)
    assert (params.repetition_penalty, params.presence_penalty, params.frequency_penalty) == (1.2, -1, 2)
    assert (params.logit_bias, params.seed, params.n, params.stop) == ({5: -100}, 11, 2, ("a", "b"))
    assert (params.stop_ids, params.logprobs, params.loop_guard) == ((9, end), 3, False)
    assert completion(ignore_eos=True).request.params.stop_ids == ()
    assert completion(top_k=-1).request.params.top_k == 0


def test_a_seed_is_drawn_only_if_none_is_given() -> None:
    assert completion().request.params.seed == 4242
    assert completion(seed=0).request.params.seed == 0
    assert completion(seed=-1).request.params.seed == 2**63 - 1


def test_a_prompt_may_be_text_or_ids_alone_or_in_a_list_of_one() -> None:
    ids = completion().request.prompt_ids
    assert completion(prompt=["the fox"]).request.prompt_ids == ids
    assert completion(prompt=list(ids)).request.prompt_ids == ids
    assert completion(prompt=[list(ids)]).request.prompt_ids == ids


def test_an_empty_prompt_still_has_a_token() -> None:
    assert len(completion(prompt="").request.prompt_ids) == 1


def test_a_sliding_prompt_keeps_the_newest_tokens_that_fit() -> None:
    text = "".join(chr(97 + i % 26) for i in range(400))
    whole = byte_level().encode(text, framed=True)
    kept = completion(prompt=text, max_tokens=20, truncate="sliding", echo=True)
    assert kept.request.prompt_ids == whole[-(CONTEXT - 20) :]
    assert text.endswith(kept.prompt_text)
    long_chat = chat(messages=[{"role": "user", "content": text}], truncate="sliding").request
    assert len(long_chat.prompt_ids) + long_chat.params.max_tokens == CONTEXT


def test_bytes_that_are_no_utf8_and_lone_surrogates_become_text() -> None:
    raw = b'{"model": "tiny", "prompt": "a\xff\\ud800\\u0000\t"}'
    ids = parse_completion(raw, context()).request.prompt_ids
    assert byte_level().decode(ids) == "<|begin|>a\ufffd\ufffd\x00\t"


def test_a_developer_message_counts_as_a_system_message() -> None:
    as_developer = chat(messages=[{"role": "developer", "content": "x"}, *CHAT["messages"]])
    as_system = chat(messages=[{"role": "system", "content": "x"}, *CHAT["messages"]])
    assert as_developer.request.prompt_ids == as_system.request.prompt_ids


def test_the_parts_of_a_message_are_joined() -> None:
    parts = [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]
    assert chat(messages=[{"role": "user", "content": parts}]).request.prompt_ids == chat().request.prompt_ids


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("<|end|>"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from([
    "model", "prompt", "messages", "n", "max_tokens", "temperature", "top_p", "stop", "stream", "stream_options",
    "seed", "logit_bias", "logprobs", "top_logprobs", "echo", "best_of", "tools", "truncate", "timeout", "beam_width",
    "top_k", "stop_token_ids", "user", "response_format", "max_completion_tokens",
])  # fmt: skip


def outcome(parse: Parse, raw: bytes) -> Intake | None:
    """Parse a body; None if an InputError refuses it. Any other error fails the test."""
    try:
        return parse(raw, context())
    except InputError as error:
        message = str(error)
    assert len(message.encode()) < 2000
    return None


@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_parsed_or_refused(raw: bytes) -> None:
    for parse in (parse_completion, parse_chat):
        outcome(parse, raw)


@settings(max_examples=300)
@given(st.dictionaries(NAMES | st.text(max_size=12), ANYTHING, max_size=6))
def test_any_object_is_parsed_or_refused(body: dict[str, Any]) -> None:
    for parse, right in ((parse_completion, PROMPT), (parse_chat, CHAT)):
        outcome(parse, json.dumps(body).encode())
        intake = outcome(parse, json.dumps(right | body).encode())
        if intake is not None:
            assert len(intake.request.prompt_ids) + intake.request.params.max_tokens <= CONTEXT
            assert all(0 <= number < served().vocab_size for number in intake.request.prompt_ids)


def test_the_characters_of_a_prompt_are_counted_where_it_came_as_text() -> None:
    assert completion().request.prompt_chars == len(PROMPT["prompt"])
    assert completion(prompt=[PROMPT["prompt"]]).request.prompt_chars == len(PROMPT["prompt"])
    assert completion(prompt=[1, 2]).request.prompt_chars == 0
