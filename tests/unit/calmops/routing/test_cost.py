"""Which replica an attempt ranks first."""

import pytest

from calmops.messages.placement import Placement
from calmops.messages.request import SamplingParams
from calmops.routing.cost import ReplicaLoad, cost


def placement(request_id: str = "r", fingerprint: str | None = None) -> Placement:
    return Placement(
        request_id=request_id, model="m", attempt=1, gateway_id="g", stream_token=1, prompt_ids=(1,),
        params=SamplingParams(max_tokens=1), deadline_ns=0, fingerprint=fingerprint,
    )  # fmt: skip


IDLE, BUSY = ReplicaLoad("idle", 0, "new"), ReplicaLoad("busy", 500, "old")
UNHEARD = ReplicaLoad("unheard", 0, None)


@pytest.mark.parametrize(
    ("why", "attempt", "first", "second"),
    [
        ("the least tokens in flight come first", placement(), IDLE, BUSY),
        ("a call without a placement is ranked by tokens too", None, IDLE, BUSY),
        ("a stream that was decoded elsewhere prefers an equal fingerprint", placement(fingerprint="old"), BUSY, IDLE),
        ("a replica that was never heard has no equal fingerprint", placement(fingerprint="old"), BUSY, UNHEARD),
        ("without an equal fingerprint tokens decide", placement(fingerprint="older"), IDLE, BUSY),
    ],
)
def test_replicas_are_ranked(why: str, attempt: Placement | None, first: ReplicaLoad, second: ReplicaLoad) -> None:
    assert cost(attempt, first) < cost(attempt, second), why


def test_lots_among_equals_differ_from_request_to_request_and_not_from_call_to_call() -> None:
    equals = [ReplicaLoad(name, 7, "f") for name in ("a", "b", "c")]
    firsts = [min(equals, key=lambda load: cost(placement(f"r{number}"), load)) for number in range(60)]
    assert {load.replica_id for load in firsts} == {"a", "b", "c"}
    assert cost(placement("r1"), equals[0]) == cost(placement("r1"), equals[0])
