"""Fuzzes the API with Schemathesis, from its own OpenAPI document: no answer may be a 5xx, except a documented 503."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

MAX_TOKENS = 8

# Values of these parameters may be right by the schema but wrong together, or above this server's or model's limits.
SERVER_BOUND = frozenset((
    "best_of", "beam_width", "logit_bias", "logprobs", "n", "stop_token_ids", "stream_options", "timeout",
    "top_logprobs", "echo", "stop", "max_completion_tokens",
))  # fmt: skip

OPERATOR_WRITES = r"^/admin/.+/(cancel|drain|disable|enable)$"
OPERATIONS = ("cancel", "drain", "disable", "enable")
GENERATION = ("/v1/completions", "/v1/chat/completions")


class Tally:
    """Counts the answers and collects those that must not come."""

    def __init__(self) -> None:
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.wrong: list[str] = []

    @property
    def cases(self) -> int:
        """Return how many requests were sent."""
        return sum(self.statuses.values())

    @property
    def success_share(self) -> float:
        """Return the share of 2xx among the requests to the generation endpoints."""
        sent = sum(count for (path, _), count in self.statuses.items() if path in GENERATION)
        good = sum(
            count for (path, status), count in self.statuses.items() if path in GENERATION and status // 100 == 2
        )
        return good / sent if sent else 0.0

    def note(self, case: Any, response: Any) -> None:
        """Count one answer."""
        self.statuses[case.operation.path, response.status_code] += 1
        documented = "503" in case.operation.definition.raw.get("responses", {}) and response.status_code == 503
        if response.status_code >= 500 and not documented:
            self.wrong.append(
                f"{case.operation.label} {response.status_code} {str(case.body)[:300]}: {response.text[:200]}"
            )


def fuzz(url: str, model: str, cases: int) -> Tally:
    """Send about ``cases`` requests, right and wrong ones, nine in ten of them to the generation endpoints."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json").exclude(path_regex=OPERATOR_WRITES)
    operations: list[Any] = [cast("Any", result).ok() for result in schema.get_all_operations()]
    others = [operation for operation in operations if operation.path not in GENERATION]
    tally = Tally()
    for operation in operations:
        share = 0.9 / len(GENERATION) if operation.path in GENERATION else 0.1 / len(others)
        _fuzz_operation(operation, max(2, round(cases * share)), (url, model), tally)
    return tally


def fuzz_operators(url: str, model: str, cases: int) -> Tally:
    """Send about ``cases`` drains, disables, enables and cancels; every second one names an existing target."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json").include(path_regex=OPERATOR_WRITES)
    operations: list[Any] = [cast("Any", result).ok() for result in schema.get_all_operations()]
    assert len(operations) == len(OPERATIONS), f"the operator API has {len(operations)} writes"
    tally = Tally()
    for operation in operations:
        modes = [GenerationMode.POSITIVE]
        # Any path is right by the schema: only drain has a parameter that can be wrong.
        if operation.path.endswith("drain"):
            modes.append(GenerationMode.NEGATIVE)
        examples = max(2, cases // len(operations) // len(modes))
        for mode in modes:
            _sender(operation, mode, examples, partial(_operate, (url, model), tally))()
    return tally


def _operate(where: tuple[str, str], tally: Tally, case: Any) -> None:
    url, model = where
    if tally.cases % 2:
        real = {
            "name": model,
            "replica_id": _first_listed(url, "inventory", "gangs", "replica_id"),
            "request_id": _first_listed(url, "requests", "requests", "request_id"),
        }
        case.path_parameters = {name: real[name] for name in case.path_parameters}
    tally.note(case, case.call(base_url=url, timeout=120))


def _first_listed(url: str, question: str, listed: str, key: str) -> str:
    """Return the id of the first entry that the operator API lists, or "none" if it lists none."""
    entries = httpx.get(f"{url}/admin/{question}", timeout=10, verify=False).json()[listed]
    return str(entries[0][key]) if entries else "none"


def _fuzz_operation(operation: Any, cases: int, where: tuple[str, str], tally: Tally) -> None:
    kinds = [(GenerationMode.POSITIVE, True), (GenerationMode.POSITIVE, False), (GenerationMode.NEGATIVE, False)]
    for number, (mode, tame) in enumerate(kinds):
        if mode is GenerationMode.POSITIVE or operation.path in GENERATION:
            examples = cases // 2 if number == 0 else max(1, cases // 4)
            _sender(operation, mode, examples, partial(_send, where, tame, tally))()


def _sender(
    operation: Any, mode: GenerationMode, examples: int, send_case: Callable[[Any], None]
) -> Callable[[], None]:
    @settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate], derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        send_case(case)

    return send


def _send(where: tuple[str, str], tame: bool, tally: Tally, case: Any) -> None:
    url, model = where
    if case.operation.path in GENERATION:
        case.body = _bounded(case.body, model, tame)
    tally.note(case, case.call(base_url=url, timeout=120))


def _bounded(body: Any, model: str, tame: bool) -> Any:
    """Bound a body to MAX_TOKENS tokens and a served model; ``tame`` leaves out what only this server would refuse."""
    if not isinstance(body, dict):
        return body
    if isinstance(body.get("model"), str):
        body["model"] = model
    for name in ("max_tokens", "max_completion_tokens"):
        if isinstance(body.get(name), int) and body[name] > MAX_TOKENS:
            body[name] = MAX_TOKENS
    body.setdefault("max_tokens", MAX_TOKENS)
    if tame:
        body = {name: value for name, value in body.items() if name not in SERVER_BOUND}
        body["max_tokens"] = body["max_tokens"] or MAX_TOKENS
        if isinstance(body.get("prompt"), list):
            body["prompt"] = [1, 2, 3]
    return body
