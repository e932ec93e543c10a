"""Makes live requests, and the deltas and frames of their attempts, in one line each."""

import itertools
from typing import Any

from msgspec.structs import replace

from actors.gateway.live_request import LiveRequest
from calmops.foundation.clock import SystemClock
from calmops.intake.validate import Intake
from calmops.messages.frame import Delta, Frame, StepFacts
from calmops.messages.placement import Placement
from calmops.messages.request import GenerationRequest, SamplingParams
from calmops.streams.journal import Journal
from calmops.tracing.context import begin

FACTS = StepFacts(
    started_ns=0, duration_ns=1_000_000, rows=1, decode_rows=1, prefill_rows=0, running=1, waiting=0, kv_blocks_used=1,
    kv_blocks_total=8, preempted=0,
)  # fmt: skip
_stream_tokens = itertools.count(100)


def intake(request_id: str = "r", *, params: dict[str, Any] | None = None, **fields: Any) -> Intake:
    """Return a streamed completion of model "m" with two prompt tokens and at most four answer tokens.

    ``fields`` are the request's, or the intake's own: kind, include_usage, echo.
    """
    own: dict[str, Any] = {name: fields.pop(name) for name in ("kind", "include_usage", "echo") if name in fields}
    sampling = SamplingParams(**{"max_tokens": 4, "seed": 5, **(params or {})})
    asked: dict[str, Any] = {"model": "m", "prompt_ids": (1, 2), "stream": True, "timeout_s": 30.0, **fields}
    request = GenerationRequest(request_id=request_id, params=sampling, **asked)
    looks = {"kind": "completion", "include_usage": False, "echo": False, "prompt_text": "", **own}
    return Intake(request=request, stream=request.stream, **looks)


def live_request(accepted: Intake | None = None) -> LiveRequest:
    """Return a live request of the gateway "gw" that isn't placed yet."""
    accepted = intake() if accepted is None else accepted
    journal = Journal(accepted.request, "gw", SystemClock().now_ns())
    return LiveRequest(accepted, journal, begin(accepted.request.request_id, 0))


def place(live: LiveRequest) -> Placement:
    """Place the request: the attempt's stream token differs from every other one's."""
    return live.journal.place(next(_stream_tokens), 0, ())


def delta(placement: Placement, index: int, text: str = "x", **changes: Any) -> Delta:
    """Return one token of the attempt's first choice, whose text is released at once."""
    token = Delta(
        request_id=placement.request_id, stream_token=placement.stream_token, attempt=placement.attempt, choice=0,
        index=index, token_ids=(7,), text=text, released=index + 1,
    )  # fmt: skip
    return replace(token, **changes)


def frame(*deltas: Delta, gang: str = "g1", link_seq: int = 1, **changes: Any) -> Frame:
    """Return the frame of one step of a gang; its replica is "replica-GANG"."""
    step = Frame(
        replica_id=f"replica-{gang}", gang_id=gang, shard=0, model="m", fingerprint="f", step=link_seq,
        link_seq=link_seq, engine_ns=0, facts=FACTS, deltas=deltas,
    )  # fmt: skip
    return replace(step, **changes)


def say(live: LiveRequest, text: str, **changes: Any) -> None:
    """Hand the request its next token, with this text; ``changes`` are the delta's."""
    if live.journal.attempt == 0:
        place(live)
    journal = live.journal
    token = Delta(
        request_id=live.request_id, stream_token=journal.stream_token, attempt=journal.attempt, choice=0,
        index=journal.journaled, token_ids=(7,), text=text, released=journal.journaled + 1,
    )  # fmt: skip
    token = replace(token, **changes)
    assert live.take(token, frame(token), SystemClock().now_ns()) is not None, "it was fenced off"
