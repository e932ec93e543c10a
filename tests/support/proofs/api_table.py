"""Sends the API's table of bad input over real HTTP, row by row. A check that fails raises AssertionError."""

import asyncio
import json
import time
from typing import Any, NamedTuple

import httpx
import openai
import pytest

from tests.support.proofs.api_sdk import sync_client

BOUND = 256  # limits.max_requests of the platform under proof
RUNNING = 128  # requests that decode at once: max_sequences of its two replicas
LONG_TOKENS = 600  # of each of these, so that none ends before the gateway is full
REFUSALS = 20
REFUSED_AT_ONCE_S = 0.5  # median time to a refusal by a full gateway on two cores, connection included


class Site(NamedTuple):
    """Holds where the rows are sent."""

    client: httpx.Client
    model: str
    context: int  # tokens


Row = tuple[dict[str, Any], int, str, tuple[str, ...]]


def rows(context: int) -> tuple[Row, ...]:
    """Return (fields, status, param, words in the message) for /v1/completions."""
    return (
        ({"model": "nobody"}, 404, "model", ("nobody",)),
        ({"temperature": -1}, 400, "temperature", ("0", "-1")),
        ({"temperature": "hot"}, 400, "temperature", ("number", "hot")),
        ({"top_p": 0}, 400, "top_p", ("0",)),
        ({"top_p": 1.5}, 400, "top_p", ("1", "1.5")),
        ({"n": 1000}, 400, "n", ("1000",)),
        ({"n": "2"}, 400, "n", ("integer",)),
        ({"max_tokens": context}, 400, "max_tokens", (str(context),)),
        ({"prompt": "x y " * 4 * context}, 400, "prompt", (str(context),)),
        ({"suffix": "end"}, 400, "suffix", ("supported",)),
        ({"tools": [{"type": "function"}]}, 400, "tools", ("tools",)),
        ({"no_such_thing": 1}, 400, "no_such_thing", ("unknown",)),
        ({"logit_bias": {"99999999": 1}}, 400, "logit_bias", ("99999999",)),
        ({"beam_width": 2, "stream": True}, 400, "beam_width", ("stream",)),
    )


CHAT_ROWS: tuple[Row, ...] = (
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "tools", ("supported",)),
    ({"response_format": {"type": "json_object"}}, 400, "response_format", ("supported",)),
    ({"messages": []}, 400, "messages", ("1",)),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        400,
        "messages[0].content[0].type",
        ("text",),
    ),
)


def check_table(url: str, model: str) -> int:
    """Check every row; return the number of checks."""
    client = httpx.Client(base_url=url, timeout=60)
    card = next(listed for listed in client.get("/v1/models").json()["data"] if listed["id"] == model)
    context = int(card["context_window"])
    completion = {"model": model, "prompt": "def ", "max_tokens": 4}
    chat = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    table = rows(context)
    for row in table:
        refused(client, "/v1/completions", completion, row)
    for row in CHAT_ROWS:
        refused(client, "/v1/chat/completions", chat, row)
    checks = (malformed, sliding, text_is_text, deadline, unknown_urls, disabled_model)
    for check in checks:
        check(Site(client, model, context))
    asyncio.run(crowd(url, model))
    return len(table) + len(CHAT_ROWS) + len(checks) + 1


def refused(client: httpx.Client, path: str, right: dict[str, Any], row: Row) -> None:
    fields, status, param, words = row
    answer = client.post(path, json=right | fields)
    assert answer.status_code == status, f"{fields}: {answer.status_code} {answer.text[:200]}"
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["param"] == param, f"{fields}: {error}"
    assert all(word in error["message"] for word in words), f"{fields}: {error}"


def malformed(site: Site) -> None:
    for raw in (b"", b"{", b"[]", b'{"model": NaN}', b"[" * 50_000, b'{"model": "a" "prompt": 1}'):
        for path in ("/v1/completions", "/v1/chat/completions"):
            answer = site.client.post(path, content=raw, headers={"content-type": "application/json"})
            assert answer.status_code == 400 and answer.json()["error"]["type"] == "invalid_request_error", raw[:20]


def sliding(site: Site) -> None:
    body = {"model": site.model, "prompt": "x y " * 4 * site.context, "max_tokens": 4, "truncate": "sliding"}
    answer = site.client.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text[:200]
    assert answer.json()["usage"]["prompt_tokens"] == site.context - 4


def text_is_text(site: Site) -> None:
    """Check that control strings in a client's text cost as many tokens as text does, and are echoed as text."""
    for raw in (rb'"a\ud800\u0000b"', b'"a\xff\xfeb"', b'"a\tb"', b'"a\x01b"'):
        body = b'{"model": ' + json.dumps(site.model).encode() + b', "max_tokens": 1, "prompt": ' + raw + b"}"
        answer = site.client.post("/v1/completions", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 200, (raw, answer.text[:200])
    for special in ("<|end|>", "<|user|>", "<|assistant|>", "<|begin|>", "</s>"):
        body_text = {"model": site.model, "prompt": special, "max_tokens": 1, "echo": True, "temperature": 0}
        whole = site.client.post("/v1/completions", json=body_text).json()
        assert special in whole["choices"][0]["text"]
        assert whole["usage"]["prompt_tokens"] >= 3, f"{special} became a control token: {whole['usage']}"


def deadline(site: Site) -> None:
    """Check that a deadline gives 408 before the first byte, and inside a stream an error event without [DONE]."""
    body = {
        "model": site.model,
        "prompt": "x",
        "max_tokens": site.context - 16,
        "timeout": 0.25,
        "ignore_eos": True,
        "loop_guard": False,
        "n": 4,
    }
    answer = site.client.post("/v1/completions", json=body)
    assert answer.status_code == 408 and answer.json()["error"]["code"] == "deadline_exceeded", answer.text[:200]
    with site.client.stream("POST", "/v1/completions", json=body | {"stream": True}) as stream:
        lines = list(stream.iter_lines())
    assert any('"deadline_exceeded"' in line for line in lines) and "data: [DONE]" not in lines
    request: Any = {"model": site.model, "prompt": "x", "max_tokens": site.context - 16, "n": 4, "stream": True}
    stream_of_sdk = sync_client(str(site.client.base_url).rstrip("/")).completions.create(
        **request, extra_body={"timeout": 0.25, "ignore_eos": True, "loop_guard": False}
    )
    with pytest.raises(openai.APIError) as caught:
        list(stream_of_sdk)
    assert caught.value.code == "deadline_exceeded"


def unknown_urls(site: Site) -> None:
    for method, path, status in (
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/completions", 405),
        ("GET", "/v1/models/x", 404),
    ):
        answer = site.client.request(method, path)
        assert answer.status_code == status and "message" in answer.json()["error"], (path, answer.text[:200])


def disabled_model(site: Site) -> None:
    """Check that a disabled model gives 503 with Retry-After, and serves again when it is enabled."""
    body = {"model": site.model, "prompt": "x", "max_tokens": 1}
    assert site.client.post(f"/admin/models/{site.model}/disable").status_code == 200
    try:
        answer = site.client.post("/v1/completions", json=body)
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1, answer.text[:200]
    finally:
        assert site.client.post(f"/admin/models/{site.model}/enable").status_code == 200
    assert site.client.post("/v1/completions", json=body).status_code == 200


async def crowd(url: str, model: str) -> None:
    """Check that requests above the stated bound get 429 with Retry-After at once, and that all others are served."""
    limit = httpx.Limits(max_connections=1024)
    # Whole answers: streams would keep this client busy with reading.
    body = {"model": model, "prompt": "x", "ignore_eos": True, "loop_guard": False}
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limit) as client:
        inside: list[asyncio.Task[httpx.Response]] = []
        for count, max_tokens in ((RUNNING, LONG_TOKENS), (BOUND - RUNNING, 4)):  # those that wait can be short
            asked = [client.post("/v1/completions", json=body | {"max_tokens": max_tokens}) for _ in range(count)]
            inside += map(asyncio.create_task, asked)
            while len((await client.get("/admin/requests")).json()["requests"]) < len(inside):
                assert not any(task.done() for task in inside), "some ended before all were inside: make them longer"
                await asyncio.sleep(0.1)
        times_s = []
        for _ in range(REFUSALS):
            started_s = time.monotonic()
            answer = await client.post("/v1/completions", json=body)
            times_s.append(time.monotonic() - started_s)
            assert answer.status_code == 429, (answer.status_code, answer.text[:200])
            assert int(answer.headers["retry-after"]) >= 1 and "the limit is" in answer.text, answer.text[:200]
        assert sorted(times_s)[REFUSALS // 2] < REFUSED_AT_ONCE_S, times_s
        answers = await asyncio.gather(*inside)
    ends = [(answer.status_code, answer.json().get("usage", {}).get("completion_tokens")) for answer in answers]
    assert ends == [(200, LONG_TOKENS)] * RUNNING + [(200, 4)] * (BOUND - RUNNING), ends
