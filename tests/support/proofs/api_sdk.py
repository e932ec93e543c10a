"""Checks every endpoint with the stock openai SDK, sync and async. A check that fails raises AssertionError."""

import asyncio
from typing import Any

import httpx
import openai
import pytest

PROMPT = "def read_lines(path):\n"
MESSAGES: Any = [{"role": "user", "content": "What does os.path.join do?"}]


def sync_client(url: str) -> openai.OpenAI:
    """Make a client without retries, so that a check sees every refusal."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120)


def check_sdk(url: str, model: str) -> int:
    """Run every check; return their number."""
    client = sync_client(url)
    checks = (
        models,
        whole_completion,
        streamed_completion,
        several_answers,
        completion_logprobs,
        chat_logprobs,
        stop_strings,
        seeds,
        whole_chat,
        streamed_chat,
        beams,
        echo_and_ids,
        request_ids,
    )
    for check in checks:
        check(client, model)
    asyncio.run(asynchronous(url, model))
    return len(checks) + 1


def models(client: openai.OpenAI, model: str) -> None:
    assert model in [listed.id for listed in client.models.list()]
    assert client.models.retrieve(model).object == "model"


def whole_completion(client: openai.OpenAI, model: str) -> None:
    answer = client.completions.create(model=model, prompt=PROMPT, max_tokens=8)
    assert answer.object == "text_completion"
    assert answer.choices[0].finish_reason in {"length", "stop"}
    assert answer.usage is not None and 1 <= answer.usage.completion_tokens <= 8
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def streamed_completion(client: openai.OpenAI, model: str) -> None:
    request: Any = {"model": model, "prompt": PROMPT, "max_tokens": 24, "temperature": 0}
    whole = client.completions.create(**request)
    chunks = list(client.completions.create(**request, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == whole.choices[0].finish_reason


def several_answers(client: openai.OpenAI, model: str) -> None:
    request: Any = {"model": model, "prompt": PROMPT, "max_tokens": 12, "n": 3, "seed": 5}
    whole = client.completions.create(**request)
    texts = {0: "", 1: "", 2: ""}
    for chunk in client.completions.create(**request, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    assert all(texts.values()) or not all(choice.text for choice in whole.choices)
    assert len({choice.text for choice in whole.choices}) > 1, "three sampled answers are all the same"


def completion_logprobs(client: openai.OpenAI, model: str) -> None:
    answer = client.completions.create(model=model, prompt=PROMPT, max_tokens=6, temperature=0, logprobs=3).choices[0]
    shown = answer.logprobs
    assert shown is not None and shown.tokens and shown.token_logprobs and shown.top_logprobs and shown.text_offset
    assert len(shown.tokens) == len(shown.token_logprobs) == len(shown.top_logprobs) == len(shown.text_offset)
    for logprob, best in zip(shown.token_logprobs, shown.top_logprobs, strict=True):
        assert logprob <= 0 and abs(max(best.values()) - logprob) < 1e-3, (
            "greedy decoding must take the best alternative"
        )


def chat_logprobs(client: openai.OpenAI, model: str) -> None:
    request: Any = {"model": model, "messages": MESSAGES, "max_tokens": 6, "logprobs": True, "top_logprobs": 2}
    choice = client.chat.completions.create(**request).choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.content
    spelled = b"".join(bytes(entry.bytes or []) for entry in choice.logprobs.content).decode("utf-8", "replace")
    assert spelled.startswith(choice.message.content or "")
    assert all(len(entry.top_logprobs) == 2 for entry in choice.logprobs.content)


def stop_strings(client: openai.OpenAI, model: str) -> None:
    request: Any = {"model": model, "prompt": PROMPT, "max_tokens": 64, "temperature": 0}
    plain = client.completions.create(**request).choices[0].text
    stop = plain[len(plain) // 2 : len(plain) // 2 + 3]
    if not stop:
        return
    choice = client.completions.create(**request, stop=[stop]).choices[0]
    assert choice.finish_reason == "stop" and choice.text == plain[: plain.index(stop)]


def seeds(client: openai.OpenAI, model: str) -> None:
    request: Any = {"model": model, "prompt": PROMPT, "max_tokens": 16, "temperature": 1.0}
    first = client.completions.with_raw_response.create(**request)
    seed = int(first.headers["x-calmops-seed"])
    again = client.completions.with_raw_response.create(**request, seed=seed)
    assert int(again.headers["x-calmops-seed"]) == seed
    assert again.parse().choices[0].text == first.parse().choices[0].text


def whole_chat(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=MESSAGES, max_completion_tokens=8)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content is not None


def streamed_chat(client: openai.OpenAI, model: str) -> None:
    request: Any = {"model": model, "messages": MESSAGES, "max_tokens": 16, "seed": 3}
    whole = client.chat.completions.create(**request)
    chunks = list(client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[-1].usage is not None


def beams(client: openai.OpenAI, model: str) -> None:
    answer = client.completions.create(
        model=model, prompt=PROMPT, max_tokens=6, n=2, extra_body={"beam_width": 3, "ignore_eos": True}
    )
    assert len(answer.choices) == 2 and answer.choices[0].text != answer.choices[1].text


def echo_and_ids(client: openai.OpenAI, model: str) -> None:
    answer = client.completions.create(model=model, prompt=[5, 6, 7], max_tokens=2, echo=True, temperature=0)
    bare = client.completions.create(model=model, prompt=[5, 6, 7], max_tokens=2, temperature=0)
    assert answer.choices[0].text.endswith(bare.choices[0].text)
    assert answer.usage is not None and answer.usage.prompt_tokens == 3


def request_ids(client: openai.OpenAI, model: str) -> None:
    named = client.completions.with_raw_response.create(
        model=model, prompt=PROMPT, max_tokens=1, extra_headers={"x-request-id": "proof.api-4"}
    )
    assert named.headers["x-request-id"] == "proof.api-4"
    made = [client.completions.with_raw_response.create(model=model, prompt=PROMPT, max_tokens=1) for _ in range(2)]
    assert made[0].headers["x-request-id"] != made[1].headers["x-request-id"]


async def asynchronous(url: str, model: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        assert model in [listed.id async for listed in client.models.list()]
        request: Any = {"model": model, "max_tokens": 8, "seed": 1}
        whole, streamed, chat, chat_stream = await asyncio.gather(
            client.completions.create(prompt=PROMPT, **request),
            client.completions.create(prompt=PROMPT, stream=True, **request),
            client.chat.completions.create(messages=MESSAGES, **request),
            client.chat.completions.create(messages=MESSAGES, stream=True, **request),
        )
        assert [chunk async for chunk in streamed] and [chunk async for chunk in chat_stream]
        assert whole.usage.completion_tokens >= 1 and chat.choices[0].message.role == "assistant"
        with pytest.raises(openai.NotFoundError) as caught:
            await client.completions.create(prompt=PROMPT, **{**request, "model": "nobody"})
        assert caught.value.param == "model"
    async with httpx.AsyncClient() as plain:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await plain.get(url + path, timeout=30)).status_code == 200, path
