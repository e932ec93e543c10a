"""Every route of the API answers, and every error is an OpenAI error object with its status."""

import dataclasses
import json
import re
from typing import Any

import httpx
import pytest

import calmops
from calmops.foundation.config_sections import LimitsConfig
from calmops.foundation.errors import CalmopsError, InputError, LoadError, TokenizationError, UnavailableError
from tests.support.gateway_api import MODEL, Api

PROMPT = {"model": MODEL, "prompt": "def f", "max_tokens": 4}
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hello."}], "max_tokens": 4}


class Readiness:
    """Says of each model what it was made with."""

    def __init__(self, **models: str) -> None:
        self._models = models

    async def check(self) -> dict[str, str]:
        return self._models


class Meter:
    """Relays one scrape, or says why there is no meter."""

    def __init__(self, error: UnavailableError | None = None) -> None:
        self._error = error

    async def metrics(self, accept: str) -> httpx.Response:
        if self._error is not None:
            raise self._error
        kind = "application/openmetrics-text" if "openmetrics" in accept else "text/plain; version=0.0.4"
        return httpx.Response(200, content=b"calmops_up 1\n", headers={"content-type": kind})


class Broken:
    """A tokenizer that breaks on whatever it gets."""

    longest_token_chars = 8

    def encode(self, _text: str, *, framed: bool = False) -> tuple[int, ...]:
        raise TokenizationError(f"it broke, framed {framed}", model=MODEL, stage="encode")


@pytest.fixture
def api() -> Api:
    return Api()


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """Return the answer's error object, which has all of OpenAI's four fields."""
    assert answer.json().keys() == {"error"}
    error: dict[str, Any] = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


def test_a_completion_is_answered_whole(api: Api) -> None:
    answer = api.post("/v1/completions", PROMPT, headers={"x-request-id": "r-1"})
    body = answer.json()
    assert (answer.status_code, body["id"], body["object"]) == (200, "cmpl-r-1", "text_completion")
    assert [choice["text"] for choice in body["choices"]] == ["Hello world"]
    assert body["usage"]["completion_tokens"] == 2
    assert api.lifecycle.closed == [("r-1", 0)]


def test_a_chat_is_answered_whole(api: Api) -> None:
    answer = api.post("/v1/chat/completions", CHAT, headers={"x-request-id": "r-1"})
    body = answer.json()
    assert (answer.status_code, body["id"], body["object"]) == (200, "chatcmpl-r-1", "chat.completion")
    assert body["choices"][0]["message"]["content"] == "Hello world"
    assert body["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(("path", "body"), [("/v1/completions", PROMPT), ("/v1/chat/completions", CHAT)])
def test_either_endpoint_streams(api: Api, path: str, body: dict[str, Any]) -> None:
    answer = api.post(path, {**body, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    data = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    assert [json.loads(event)["choices"][0]["finish_reason"] for event in data[:-1]] == [None, "stop"]
    assert len(api.lifecycle.closed) == 1


def test_the_seed_that_was_drawn_or_given_is_answered(api: Api) -> None:
    given = api.post("/v1/completions", {**PROMPT, "seed": 77})
    assert given.headers["x-calmops-seed"] == "77"
    drawn = {api.post("/v1/completions", PROMPT).headers["x-calmops-seed"] for _ in range(2)}
    assert len(drawn) == 2, "each request that brings none draws its own"


def test_the_callers_trace_goes_on_and_only_configured_baggage_is_kept(api: Api) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01", "tracestate": "v=1", "baggage": "team=a,secret=b"}
    answer = api.post("/v1/completions", PROMPT, headers=headers)
    (accepted,) = api.lifecycle.accepted
    assert accepted.request.traceparent == headers["traceparent"]
    assert (accepted.request.baggage, answer.headers["baggage"]) == ({"team": "a"}, "team=a")
    assert answer.headers["tracestate"] == "v=1"


@pytest.mark.parametrize("request_id", ["r-1", "~" * 128, "a.b:c!"])
def test_a_callers_request_id_names_its_request(api: Api, request_id: str) -> None:
    answer = api.post("/v1/completions", PROMPT, headers={"x-request-id": request_id})
    assert answer.json()["id"] == f"cmpl-{request_id}"


def test_a_request_without_an_id_gets_one_of_its_own(api: Api) -> None:
    ids = {api.post("/v1/completions", PROMPT).json()["id"] for _ in range(2)}
    assert len(ids) == 2
    assert all(re.fullmatch("cmpl-req-[0-9a-f]{24}", name) for name in ids)


@pytest.mark.parametrize("request_id", ["", "a" * 129, "a b", "a/b", "a,b", "a;b", 'a"b', "a\tb", b"caf\xe9"])
def test_a_request_id_that_could_break_a_log_line_or_a_url_is_refused(api: Api, request_id: str | bytes) -> None:
    answer = api.post("/v1/completions", PROMPT, headers={b"x-request-id": request_id})
    assert answer.status_code == 400
    assert (error_of(answer)["param"], error_of(answer)["type"]) == ("x-request-id", "invalid_request_error")
    assert api.lifecycle.accepted == []


def test_the_id_of_a_live_request_is_refused(api: Api) -> None:
    api.lifecycle.live_ids.add("r-1")
    answer = api.post("/v1/completions", PROMPT, headers={"x-request-id": "r-1"})
    assert (answer.status_code, error_of(answer)["param"]) == (400, "x-request-id")
    assert "'r-1' is that of a live request" in error_of(answer)["message"]


@pytest.mark.parametrize(
    ("why", "body", "status", "param"),
    [
        ("not JSON", "{", 400, None),
        ("a wrong type", {**PROMPT, "max_tokens": "four"}, 400, "max_tokens"),
        ("a model that isn't served", {**PROMPT, "model": "gpt-4"}, 404, "model"),
        ("an unknown field", {**PROMPT, "max_token": 1}, 400, "max_token"),
    ],
)
def test_a_wrong_body_is_refused_and_counted(api: Api, why: str, body: Any, status: int, param: str | None) -> None:
    content = {"content": body} if isinstance(body, str) else {"json": body}
    answer = api.call("POST", "/v1/completions", **content, headers={"x-request-id": "r-1"})
    assert (answer.status_code, error_of(answer)["param"]) == (status, param), why
    assert api.lifecycle.refused == [("refused_input", "r-1", "unknown")]


def test_a_body_beyond_the_limit_is_refused() -> None:
    api = Api(limits=LimitsConfig(max_body_bytes=1024))
    answer = api.post("/v1/completions", {**PROMPT, "prompt": "x" * 1024})
    assert (answer.status_code, error_of(answer)["code"]) == (400, "body_too_large")
    assert "limit of 1024 bytes" in error_of(answer)["message"]
    assert api.lifecycle.accepted == []


@pytest.mark.parametrize(
    ("refusal", "status", "retry_after", "counted"),
    [
        (LoadError("256 requests are in", retry_after_s=13), 429, "13", [("refused_load", "r-1", MODEL)]),
        (UnavailableError("out of service", retry_after_s=5), 503, "5", [("refused_load", "r-1", MODEL)]),
        (InputError("wrong", param="n"), 400, None, []),
    ],
)
def test_a_request_that_is_not_accepted_gets_its_status_and_when_to_come_back(
    api: Api, refusal: CalmopsError, status: int, retry_after: str | None, counted: list[tuple[str, ...]]
) -> None:
    api.lifecycle.refusal = refusal
    answer = api.post("/v1/completions", PROMPT, headers={"x-request-id": "r-1"})
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, retry_after)
    assert error_of(answer)["message"] == str(refusal)
    assert (error_of(answer)["type"], error_of(answer)["code"]) == (refusal.type, refusal.code)
    assert api.lifecycle.refused == counted


def test_a_request_that_fails_before_its_first_token_is_an_error_object_too(api: Api) -> None:
    api.lifecycle.texts, api.lifecycle.error = [], UnavailableError("no healthy replica", retry_after_s=5)
    for stream in (False, True):
        answer = api.post("/v1/completions", {**PROMPT, "stream": stream})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert error_of(answer)["code"] == "no_healthy_replica"


def test_a_tokenizer_that_breaks_is_our_failure_and_counted_as_such(api: Api) -> None:
    broken: Any = Broken()
    served = {MODEL: dataclasses.replace(api.served[MODEL], tokenizer=broken)}
    api = Api(served=served)
    answer = api.post("/v1/completions", PROMPT, headers={"x-request-id": "r-1"})
    assert (answer.status_code, error_of(answer)["code"]) == (500, "tokenization_failed")
    assert api.lifecycle.refused == [("encode", "r-1", MODEL)]


def test_models_are_listed_and_each_has_a_card(api: Api) -> None:
    listed = api.get("/v1/models").json()
    assert (listed["object"], [card["id"] for card in listed["data"]]) == ("list", [MODEL])
    card = api.get(f"/v1/models/{MODEL}").json()
    assert card == listed["data"][0]
    assert (card["object"], card["context_window"]) == ("model", api.served[MODEL].context)
    assert card["release"] == api.served[MODEL].release_digest


def test_an_unknown_models_card_is_a_404_that_names_the_models(api: Api) -> None:
    answer = api.get("/v1/models/gpt-4")
    assert (answer.status_code, error_of(answer)["code"]) == (404, "model_not_found")
    assert MODEL in error_of(answer)["message"]


def test_a_gateway_that_lives_says_so(api: Api) -> None:
    answer = api.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "gateway_id": "gw"})


@pytest.mark.parametrize(
    ("models", "status", "word"),
    [
        ({"a": "ready", "b": "ready"}, 200, "ready"),
        ({"a": "ready", "b": "no healthy replica"}, 503, "not_ready"),
    ],
)
def test_a_gateway_is_ready_if_every_model_decodes(models: dict[str, str], status: int, word: str) -> None:
    answer = Api(readiness=Readiness(**models)).get("/readyz")
    assert (answer.status_code, answer.json()) == (status, {"status": word, "models": models})


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
def test_metrics_are_the_meters_in_the_format_that_was_asked_for(accept: str) -> None:
    answer = Api(meter=Meter()).get("/metrics", headers={"accept": accept})
    assert (answer.status_code, answer.content) == (200, b"calmops_up 1\n")
    assert answer.headers["content-type"].startswith(accept.partition(";")[0])


def test_without_a_meter_metrics_are_unavailable() -> None:
    answer = Api(meter=Meter(UnavailableError("telemetry is off"))).get("/metrics")
    assert (answer.status_code, error_of(answer)["message"]) == (503, "telemetry is off")
    assert "retry-after" in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("GET", "/v1/completions", 405), ("POST", "/healthz", 405)],
)
def test_an_unknown_url_or_method_is_an_error_object(api: Api, method: str, path: str, status: int) -> None:
    answer = api.call(method, path)
    assert (answer.status_code, error_of(answer)["code"]) == (status, "unknown_url")
    assert error_of(answer)["message"].startswith(f"{method} {path}: ")
    assert ("allow" in answer.headers) == (status == 405)


def test_the_openapi_document_describes_both_endpoints_bodies(api: Api) -> None:
    document = api.get("/openapi.json").json()
    assert document["info"]["version"] == calmops.__version__
    for path, field in (("/v1/completions", "prompt"), ("/v1/chat/completions", "messages")):
        schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert field in schema["properties"]
        assert {"400", "404", "408", "429", "503"} <= document["paths"][path]["post"]["responses"].keys()
