"""OpenAI's own SDK reads every answer, and errors have OpenAI's shape."""

import json
import timeit
from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from calmops.foundation.errors import DeadlineError, InputError
from calmops.intake.answers import DONE, KEEPALIVE, Answer, StreamAnswer, error_body, error_event, json_text
from calmops.intake.validate import Intake, parse_chat, parse_completion
from calmops.messages.frame import TokenLogprobs
from tests.support.tokenizer_releases import context

KINDS = ("completion", "chat")


class Step(NamedTuple):
    choice: int = 0
    text: str = ""
    released: int = 1
    logprobs: tuple[TokenLogprobs, ...] | None = None
    finish_reason: str | None = None
    event_id: str = "0:1:0000abcd"


def intake(kind: str, **fields: Any) -> Intake:
    if kind == "chat":
        chat = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
        return parse_chat(json.dumps(chat | fields).encode(), context())
    return parse_completion(json.dumps({"model": "tiny", "prompt": "the fox"} | fields).encode(), context())


def read(raw: bytes) -> list[tuple[str | None, Any]]:
    """Parse the events of a stream into (id, data)."""
    events = []
    for block in raw.decode().split("\n\n")[:-1]:
        lines = dict(line.split(": ", 1) for line in block.splitlines())
        events.append((lines.get("id"), lines["data"] if lines["data"] == "[DONE]" else json.loads(lines["data"])))
    return events


def as_completion(data: dict[str, Any]) -> Completion:
    """Parse a chunk as a Completion, whose type doesn't allow the null finish_reason of OpenAI's own chunks."""
    choices = [choice | {"finish_reason": choice["finish_reason"] or "stop"} for choice in data["choices"]]
    return Completion.model_validate(data | {"choices": choices}, strict=True)


def stream(kind: str, steps: Iterable[Step], **fields: Any) -> list[tuple[str | None, Any]]:
    answer = StreamAnswer(intake(kind, stream=True, **fields), created=1_700_000_000)
    return read(b"".join(answer.event(step) for step in steps) + answer.end(5, 3))


def token(text: bytes, logprob: float = -0.5, top: Any = ()) -> TokenLogprobs:
    return TokenLogprobs(7, logprob, text, tuple((n, value, spelling) for n, (spelling, value) in enumerate(top)))


def test_the_sdk_reads_a_chat_stream() -> None:
    events = stream("chat", [Step(text="Hel"), Step(text="lo"), Step(text="", finish_reason="stop")])
    chunks = [ChatCompletionChunk.model_validate(data, strict=True) for _, data in events[:-1]]
    assert events[-1] == (None, "[DONE]")
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["Hel", "lo", ""]
    assert [chunk.choices[0].delta.role for chunk in chunks] == ["assistant", None, None]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, "stop"]
    assert {(chunk.id, chunk.model, chunk.created) for chunk in chunks} == {("chatcmpl-req-1", "tiny", 1_700_000_000)}
    assert [number for number, _ in events[:-1]] == ["0:1:0000abcd"] * 3


def test_the_sdk_reads_a_completion_stream() -> None:
    steps = [
        Step(text="a"),
        Step(choice=1, text="b"),
        Step(text="", finish_reason="length"),
        Step(1, "", finish_reason="stop"),
    ]
    events = stream("completion", steps, n=2, echo=True)
    chunks = [as_completion(data) for _, data in events[:-1]]
    assert [(chunk.choices[0].index, chunk.choices[0].text) for chunk in chunks] == [
        (0, "<|begin|>the foxa"), (1, "<|begin|>the foxb"), (0, ""), (1, "")
    ]  # fmt: skip
    assert [data["choices"][0]["finish_reason"] for _, data in events[:-1]] == [None, None, "length", "stop"]


@pytest.mark.parametrize("kind", KINDS)
def test_usage_comes_last_and_only_when_asked_for(kind: str) -> None:
    events = stream(kind, [Step(text="a")], stream_options={"include_usage": True})
    assert events[0][1]["usage"] is None
    assert events[-2][1]["choices"] == []
    assert events[-2][1]["usage"] == {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    assert "usage" not in stream(kind, [Step(text="a")])[0][1]


@pytest.mark.parametrize(("kind", "shape"), [("chat", ChatCompletion), ("completion", Completion)])
def test_the_sdk_reads_a_whole_answer(kind: str, shape: Any) -> None:
    wanted = intake(kind, n=2)
    answer = Answer(wanted, created=1_700_000_000)
    for step in (
        Step(text="a"),
        Step(1, "b"),
        Step(text="c", finish_reason="stop"),
        Step(1, "d", finish_reason="length"),
    ):
        answer.add(step)
    read_back = shape.model_validate_json(answer.body(5, 4), strict=True)
    texts = [choice.message.content if kind == "chat" else choice.text for choice in read_back.choices]
    assert texts == ["ac", "bd"]
    assert [choice.finish_reason for choice in read_back.choices] == ["stop", "length"]
    assert read_back.usage.total_tokens == 9


def test_the_loop_guard_is_its_own_finish_reason() -> None:
    assert stream("chat", [Step(finish_reason="loop_guard")])[0][1]["choices"][0]["finish_reason"] == "loop_guard"
    assert stream("chat", [Step(finish_reason="failed")])[0][1]["choices"][0]["finish_reason"] is None


TOKENS = (token(b"ab", top=[(b"ab", -0.5), (b"x", -1.0)]), token(b"\xe6\x9d", -1.5), token(b"\xb1", float("-inf")))


def test_the_sdk_reads_chat_logprobs() -> None:
    answer = Answer(intake("chat", logprobs=True, top_logprobs=2), created=1)
    answer.add(Step(text="ab東", released=3, logprobs=TOKENS, finish_reason="stop"))
    content: Any = vars(ChatCompletion.model_validate_json(answer.body(1, 3), strict=True).choices[0])[
        "logprobs"
    ].content
    assert [entry.token for entry in content] == ["ab", "\ufffd", "\ufffd"]
    assert bytes(byte for entry in content for byte in entry.bytes).decode() == "ab東"
    assert [entry.logprob for entry in content] == [-0.5, -1.5, -9999.0]
    assert [(top.token, top.logprob) for top in content[0].top_logprobs] == [("ab", -0.5), ("x", -1.0)]


def test_the_sdk_reads_completion_logprobs() -> None:
    events = stream(
        "completion",
        [Step(text="ab東", released=3, logprobs=TOKENS), Step(text="c", logprobs=(token(b"c"),))],
        logprobs=2,
    )
    first, second = (vars(as_completion(data).choices[0])["logprobs"] for _, data in events[:2])
    assert first.tokens == ["ab", "bytes:\\xe6\\x9d", "bytes:\\xb1"]
    assert first.text_offset == [0, 2, 2]
    assert first.top_logprobs[0] == {"ab": -0.5, "x": -1.0}
    assert second.text_offset == [3]


@pytest.mark.parametrize("kind", KINDS)
def test_logprobs_are_held_back_as_long_as_their_text(kind: str) -> None:
    fields = {"logprobs": True} if kind == "chat" else {"logprobs": 0}
    steps = [
        Step(text="", released=0, logprobs=(token(b"a"),)),
        Step(text="a", released=1, logprobs=(token(b"STOP"),)),
        Step(text="", released=0, logprobs=(), finish_reason="stop"),
    ]
    shown = [data["choices"][0]["logprobs"] for _, data in stream(kind, steps, **fields)[:-1]]
    assert shown[0] is None and shown[2] is None
    assert "a" in json.dumps(shown[1]) and "STOP" not in json.dumps(shown)


def test_errors_have_openais_shape_and_internal_ones_show_no_detail() -> None:
    shown = error_body(InputError("too big", param="n", code="invalid_value"))
    assert shown == {
        "error": {"message": "too big", "type": "invalid_request_error", "param": "n", "code": "invalid_value"}
    }
    assert error_body(KeyError("secret"))["error"]["message"] == "internal error"
    ((_, data),) = read(error_event(DeadlineError("late")))
    assert data["error"]["code"] == "deadline_exceeded"
    assert KEEPALIVE.startswith(b":") and KEEPALIVE.endswith(b"\n\n") and DONE == b"data: [DONE]\n\n"


@given(st.text())
def test_an_event_stays_on_one_line_and_keeps_its_text(text: str) -> None:
    encoded = json_text(text)
    assert json.loads(encoded) == text
    assert len(encoded.decode().splitlines()) == 1
    for kind in KINDS:
        choice = stream(kind, [Step(text=text)])[0][1]["choices"][0]
        assert (choice["delta"]["content"] if kind == "chat" else choice["text"]) == text


def test_an_event_costs_a_few_microseconds() -> None:
    answer = StreamAnswer(intake("chat", stream=True), created=1)
    step = Step(text=" token")
    answer.event(step)
    best_s = min(timeit.repeat(lambda: answer.event(step), number=2000, repeat=5)) / 2000
    assert best_s < 50e-6, f"{best_s * 1e6:.1f} us per event; the bound is 50 us"
