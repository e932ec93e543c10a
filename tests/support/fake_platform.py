"""The fake platform answers its HTTP API with fixed answers and records every call."""

import json
from typing import Any

import httpx

from calmops.cli.client import Server, Target

TOKEN = "the-operators-word"
INVENTORY = {
    "gateway_id": "g1",
    "gateways": [{"gateway_id": "g1"}],
    "unanswered": ["g2"],
    "models": [{"name": "stdlib-5m", "disabled": False}, {"name": "other", "disabled": True}],
    "gangs": [
        {
            "model": "stdlib-5m", "replica_id": "r1", "gang_id": "k1", "shard": 0, "node_id": "abcdef0123", "tp": 2,
            "ranks": [{"rank": 0, "pid": 41}, {"rank": 1, "pid": 42}], "draining": False, "linked": True, "step": 7,
            "heard_ms_ago": 3, "running": 1, "waiting": 0, "kv_blocks_used": 5, "kv_blocks_total": 512,
            "tokens_in_flight": 64,
        }
    ],
    "migrations": 2,
}  # fmt: skip
EXPOSITION = """\
# TYPE calmops_tokens counter
calmops_tokens_total{{model="stdlib-5m",kind="generated"}} {tokens}
calmops_tokens_total{{model="stdlib-5m",kind="prompt"}} 9
# TYPE gen_ai_server_time_to_first_token_seconds histogram
gen_ai_server_time_to_first_token_seconds_bucket{{model="stdlib-5m",le="0.01"}} {tokens}
gen_ai_server_time_to_first_token_seconds_bucket{{model="stdlib-5m",le="+Inf"}} {tokens}
# TYPE calmops_inter_token_latency_seconds histogram
calmops_inter_token_latency_seconds_bucket{{model="stdlib-5m",at="gateway",le="0.025"}} {tokens}
calmops_inter_token_latency_seconds_bucket{{model="stdlib-5m",at="gateway",le="+Inf"}} {tokens}
"""


class FakePlatform:
    """Answers in place of a platform; ``connect`` replaces calmops.cli.client.connect."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.tokens = 100
        self.stream: list[str] = [text_event("He"), text_event("llo"), last_event("stop", 2), "data: [DONE]"]
        self.refusal: httpx.Response | None = None

    def connect(self, target: Target) -> Server:
        return Server(target.url or "http://calmops.test", TOKEN, httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.calls.append((request.method, request.url.raw_path.decode()))
        if request.content:
            self.bodies.append(json.loads(request.content))
        if self.refusal is not None:
            return self.refusal
        path = request.url.path
        if path.startswith("/admin") and request.headers.get("authorization") != f"Bearer {TOKEN}":
            return refused(401, "/admin needs a token")
        if path == "/admin/inventory":
            return httpx.Response(200, json=INVENTORY)
        if path == "/admin/requests":
            return httpx.Response(
                200, json={"requests": [{"request_id": "q1", "model": "stdlib-5m", "tokens": 3}], "unanswered": ["g2"]}
            )
        if path.startswith("/admin/"):
            return httpx.Response(200, json={"done": path})
        if path == "/metrics":
            self.tokens += 50
            return httpx.Response(200, text=EXPOSITION.format(tokens=self.tokens))
        if path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": "stdlib-5m"}]})
        return httpx.Response(200, text="\n\n".join([": keep-alive", *self.stream]) + "\n\n")


def refused(status: int, message: str) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message, "type": "x", "param": None, "code": None}})


def text_event(text: str) -> str:
    return "data: " + json.dumps(
        {"choices": [{"index": 0, "delta": {"content": text}, "text": text, "finish_reason": None}]}
    )


def last_event(reason: str, tokens: int) -> str:
    ended = {"choices": [{"index": 0, "delta": {}, "text": "", "finish_reason": reason}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": tokens}}
    return f"data: {json.dumps(ended)}\n\ndata: {json.dumps(usage)}"
