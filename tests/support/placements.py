"""Makes placements and sequences for the decoding tests, in one line each."""

import zlib
from typing import Any

from calmops.decoding.scheduler import Emission, Scheduler
from calmops.decoding.sequence import Sequence, from_placement
from calmops.messages.placement import Placement, ResumedChoice
from calmops.messages.request import SamplingParams

Resumed = tuple[tuple[int, tuple[int, ...]], ...]  # (choice, its ids)


def stream_token(request_id: str, attempt: int = 1) -> int:
    """Return the stream token of an attempt; it differs between the attempts of these tests."""
    return zlib.crc32(f"{request_id}/{attempt}".encode())


def placement(
    request_id: str, prompt_tokens: int = 4, *, attempt: int = 1, resumed: Resumed = (), salt: str = "", **params: Any
) -> Placement:
    params.setdefault("max_tokens", 8)
    return Placement(
        request_id=request_id,
        model="m",
        attempt=attempt,
        gateway_id="g",
        stream_token=stream_token(request_id, attempt),
        prompt_ids=tuple(range(1000, 1000 + prompt_tokens)),
        params=SamplingParams(**params),
        deadline_ns=0,
        resumed=tuple(ResumedChoice(choice=choice, token_ids=ids) for choice, ids in resumed),
        salt=salt,
    )


def sequences(request_id: str, prompt_tokens: int = 4, **more: Any) -> list[Sequence]:
    return from_placement(placement(request_id, prompt_tokens, **more))


def drain(scheduler: Scheduler, token: int = 7, steps: int = 10_000) -> list[Emission]:
    """Run the scheduler until no sequence is live; return every emission, in order."""
    emissions: list[Emission] = []
    for _ in range(steps):
        work = scheduler.plan()
        if work is None:
            return emissions
        emissions += scheduler.commit(work, [token] * len(work.wanted))
    raise AssertionError(f"sequences are still live after {steps} steps")
