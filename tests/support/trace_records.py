"""Makes one request's records, as its gateway would have spooled them."""

from typing import Any

import msgspec

from calmops.messages.record import Closed, FrameRecord, Opened, SequenceStep

MS = 1_000_000
START_NS = 1_700_000_000_000 * MS


def opened(request_id: str = "r", at_ms: float = 0) -> Opened:
    return Opened(
        request_id=request_id,
        model="m",
        gateway_id="g",
        at_ns=_at(at_ms),
        prompt_tokens=7,
        max_tokens=9,
        choices=1,
        stream=True,
    )


def step(at_ms: float, *, request_id: str = "r", attempt: int = 1, **share: int) -> FrameRecord:
    """Make a step of 5 ms on replica ``r<attempt>``, whose token came 10 ms after the one before.

    ``share``: fields of its one sequence.
    """
    given = {"tokens": 1, "released": 1, "gap_engine_ns": 9 * MS, "gap_gateway_ns": 10 * MS, **share}
    sequence = SequenceStep(request_id=request_id, attempt=attempt, choice=0, index=0, **given)
    return FrameRecord(
        replica_id=f"r{attempt}",
        gang_id="g",
        shard=attempt,
        model="m",
        step=1,
        at_ns=_at(at_ms),
        duration_ns=5 * MS,
        rows=3,
        sequences=(sequence,),
    )


def closed(duration_ms: float, *, request_id: str = "r", **other: Any) -> Closed:
    """Make the end of a request that completed, unless ``other`` fields say otherwise."""
    completed = Closed(
        request_id=request_id,
        model="m",
        gateway_id="g",
        at_ns=_at(duration_ms),
        outcome="completed",
        attempts=1,
        prompt_tokens=7,
        journaled=5,
        delivered=5,
        discarded=0,
        ttft_ns=20 * MS,
        duration_ns=round(duration_ms * MS),
    )
    return msgspec.structs.replace(completed, **other)


def _at(at_ms: float) -> int:
    return START_NS + round(at_ms * MS)
