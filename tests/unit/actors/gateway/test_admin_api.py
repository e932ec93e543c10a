"""Operators see all gateways, cancel, drain, disable and report; a caller without their token may not."""

from typing import Any

import httpx
import pytest

from actors.gateway import admin_api
from actors.gateway.admin_api import MOST_REPORT_BYTES, build_admin
from actors.gateway.operator_guard import operators_only
from actors.gateway.peers import Answers
from calmops.foundation.model_labels import ModelLabels
from calmops.messages.record import Record, Reported
from calmops.messages.roster import GangEntry, Member, Roster
from tests.support.gateway_api import Api

TOKEN = "s3cret"
LABELS = ModelLabels("m", "r1", "stable", "base", "production")
REPORT = {"name": "pii_scans", "model": "m", "good": 9, "bad": 1}


def gang(shard: int) -> GangEntry:
    members = tuple(Member(rank=rank, pid=100 * shard + rank, started_ticks=1) for rank in (0, 1))
    return GangEntry(
        model="m", replica_id=f"replica-{shard}", gang_id=f"g{shard}", node_id="n1", members=members, fingerprint="f",
        tp=2, shard=shard,
    )  # fmt: skip


def gang_view(**more: Any) -> dict[str, Any]:
    return {
        "tokens_in_flight": 5, "routable": True, "linked": True, "step": 3, "heard_ms_ago": 20, "facts_step": 3,
        "running": 1, "waiting": 0, "kv_blocks_used": 2, "kv_blocks_total": 8, **more,
    }  # fmt: skip


def gateway_view(name: str, **gangs: Any) -> dict[str, Any]:
    return {
        "gateway_id": name, "pid": 7, "node_id": "n1", "fenced_frames": 2, "migrations": 1,
        "telemetry": {"committed": 4}, "gangs": gangs,
    }  # fmt: skip


class Peers:
    """Stands in for all gateways, which answer each question as the test says."""

    def __init__(self) -> None:
        self.answers: dict[str, Answers] = {}
        self.asked: list[tuple[str, str]] = []

    async def everywhere(self, question: str, argument: str = "") -> Answers:
        self.asked.append((question, argument))
        return self.answers[question]


class Registry:
    """Stands in for the way to the registry: keeps a roster, and notes the orders passed on."""

    def __init__(self) -> None:
        self.roster = Roster(gangs=(gang(1), gang(0)), draining=("replica-1",), disabled=("old",))
        self.orders: list[tuple[str, str, bool]] = []

    async def set_draining(self, replica_id: str, draining: bool) -> None:
        self.orders.append(("draining", replica_id, draining))

    async def set_disabled(self, model: str, disabled: bool) -> None:
        self.orders.append(("disabled", model, disabled))


class Publisher:
    """Keeps what is published, unless it refuses."""

    gateway_id = "gw"
    refusal = "telemetry is behind; try again in a second"

    def __init__(self) -> None:
        self.labels = {"m": LABELS}
        self.full = False
        self.records: list[Record] = []

    def publish(self, record: Record) -> bool:
        if not self.full:
            self.records.append(record)
        return not self.full


class Operator:
    """Calls the operator API of a gateway that serves the models "m" and "old"."""

    def __init__(self, token: str | None = None) -> None:
        self.peers, self.registry, self.publisher = Peers(), Registry(), Publisher()
        parts: Any = (operators_only(token), ("m", "old"), self.peers, self.registry, self.publisher)
        self._api = Api(routers=(build_admin(*parts),))

    def get(self, path: str, **request: Any) -> httpx.Response:
        return self._api.get(f"/admin{path}", **request)

    def post(self, path: str, body: Any = None, **request: Any) -> httpx.Response:
        return self._api.post(f"/admin{path}", body, **request)


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> Operator:
    monkeypatch.setattr(admin_api, "cluster_resources", lambda: {"CPU": 8.0})
    return Operator()


def message_of(answer: httpx.Response) -> str:
    message: str = answer.json()["error"]["message"]
    return message


def test_the_inventory_puts_all_gateways_views_together(operator: Operator) -> None:
    operator.peers.answers["view"] = Answers(
        [
            gateway_view("gw", g0=gang_view(), g1=gang_view(linked=False, routable=False)),
            gateway_view("gw-2", g0=gang_view(facts_step=9, running=4)),
        ],
        ["gw-3"],
    )
    shown = operator.get("/inventory").json()
    assert (shown["gateway_id"], shown["unanswered"]) == ("gw", ["gw-3"])
    assert [gateway["gateway_id"] for gateway in shown["gateways"]] == ["gw", "gw-2"]
    assert (shown["fenced_frames"], shown["migrations"]) == (4, 2)
    assert shown["models"] == [{"name": "m", "disabled": False}, {"name": "old", "disabled": True}]
    assert (shown["telemetry"], shown["cluster"]) == ({"committed": 4}, {"CPU": 8.0})
    first, second = shown["gangs"]
    assert (first["gang_id"], first["tokens_in_flight"], first["running"]) == ("g0", 10, 4)
    assert first["ranks"] == [{"rank": 0, "pid": 0}, {"rank": 1, "pid": 1}]
    assert (second["gang_id"], second["draining"], second["linked"]) == ("g1", True, False)


def test_live_requests_of_all_gateways_are_one_list(operator: Operator) -> None:
    operator.peers.answers["requests"] = Answers([[{"request_id": "a"}], [], [{"request_id": "b"}]], ["gw-3"])
    assert operator.get("/requests").json() == {
        "requests": [{"request_id": "a"}, {"request_id": "b"}], "unanswered": ["gw-3"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("why", "answers", "status", "words"),
    [
        ("another gateway has it", Answers([False, True], []), 200, ""),
        ("it is cancelled, though a gateway didn't answer", Answers([True], ["gw-2"]), 200, ""),
        ("no gateway has it", Answers([False, False], []), 404, "no live request 'r-1'"),
        ("a gateway that may have it didn't answer", Answers([False], ["gw-2", "gw-3"]), 503, "gw-2, gw-3 didn't"),
    ],
)
def test_a_cancel_is_asked_of_every_gateway(
    operator: Operator, why: str, answers: Answers, status: int, words: str
) -> None:
    operator.peers.answers["cancel"] = answers
    answer = operator.post("/requests/r-1/cancel")
    assert answer.status_code == status, why
    assert operator.peers.asked == [("cancel", "r-1")]
    if status == 200:
        assert answer.json() == {"request_id": "r-1", "cancelled": True}
    else:
        assert words in message_of(answer)


def test_a_replica_is_drained_and_put_back(operator: Operator) -> None:
    drained = operator.post("/replicas/replica-0/drain")
    assert drained.json() == {"replica_id": "replica-0", "draining": True}
    restored = operator.post("/replicas/replica-0/drain", params={"undo": "true"})
    assert restored.json() == {"replica_id": "replica-0", "draining": False}
    assert operator.registry.orders == [("draining", "replica-0", True), ("draining", "replica-0", False)]


def test_a_replica_that_isnt_there_is_not_drained_and_those_that_are_get_named(operator: Operator) -> None:
    answer = operator.post("/replicas/replica-7/drain")
    assert answer.is_client_error
    assert "no replica 'replica-7'; there are: replica-1, replica-0" in message_of(answer)
    operator.registry.roster = Roster()
    assert "there are: none" in message_of(operator.post("/replicas/replica-7/drain"))
    assert operator.registry.orders == []


def test_a_model_is_taken_out_of_service_and_put_back(operator: Operator) -> None:
    assert operator.post("/models/m/disable").json() == {"model": "m", "disabled": True}
    assert operator.post("/models/m/enable").json() == {"model": "m", "disabled": False}
    assert operator.registry.orders == [("disabled", "m", True), ("disabled", "m", False)]


@pytest.mark.parametrize("order", ["disable", "enable"])
def test_an_unknown_model_gets_no_order(operator: Operator, order: str) -> None:
    answer = operator.post(f"/models/gpt-4/{order}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "name")
    assert "there are: m, old" in message_of(answer)
    assert operator.registry.orders == []


def test_a_report_is_published_under_its_models_labels(operator: Operator) -> None:
    answer = operator.post("/reports", {**REPORT, "name": "drift_checks", "value": 0.25})
    assert (answer.status_code, answer.json()) == (200, {"counted": 10})
    (record,) = operator.publisher.records
    assert isinstance(record, Reported)
    assert (record.gateway_id, record.model, record.name) == ("gw", "m", "drift_checks")
    assert (record.good, record.bad, record.value, record.labels) == (9, 1, 0.25, LABELS.rest)


@pytest.mark.parametrize(
    ("why", "content", "words"),
    [
        ("no JSON", b"{", "not a report: "),
        ("not UTF-8", b'{"name": "\xff"}', "not a report: "),
        ("a check that nobody runs", b'{"name": "vibes", "model": "m"}', "not a report: "),
        ("a count below zero", b'{"name": "pii_scans", "model": "m", "bad": -1}', "not a report: "),
        ("an unknown field", b'{"name": "pii_scans", "model": "m", "ok": 1}', "not a report: "),
        (
            "a model that isn't served",
            b'{"name": "pii_scans", "model": "gpt-4"}',
            "no model 'gpt-4'; there are: m, old",
        ),
        ("too long", b" " * (MOST_REPORT_BYTES + 1), f"limit of {MOST_REPORT_BYTES} bytes"),
    ],
)
def test_a_body_that_is_no_report_is_refused_with_the_reason(
    operator: Operator, why: str, content: bytes, words: str
) -> None:
    answer = operator.post("/reports", content=content)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), why
    assert words in message_of(answer)
    assert operator.publisher.records == []


def test_a_report_that_the_publisher_refuses_is_to_be_sent_again(operator: Operator) -> None:
    operator.publisher.full = True
    answer = operator.post("/reports", REPORT)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert message_of(answer) == "the report wasn't taken: telemetry is behind; try again in a second"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/inventory"), ("GET", "/requests"), ("POST", "/requests/r-1/cancel"), ("POST", "/reports"),
        ("POST", "/replicas/replica-0/drain"), ("POST", "/models/m/disable"), ("POST", "/models/m/enable"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shown", [None, "Bearer wrong", TOKEN, f"Basic {TOKEN}"])
def test_every_route_needs_the_operators_token(method: str, path: str, shown: str | None) -> None:
    operator = Operator(token=TOKEN)
    call = operator.get if method == "GET" else operator.post
    answer = call(path, headers={} if shown is None else {"authorization": shown})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_admin_token")
    assert f"/admin{path} needs" in message_of(answer)
    assert (operator.peers.asked, operator.registry.orders, operator.publisher.records) == ([], [], [])


def test_the_operators_token_lets_its_bearer_in() -> None:
    operator = Operator(token=TOKEN)
    answer = operator.post("/models/m/disable", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
