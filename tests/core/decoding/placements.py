"""Placements for the decoding tests, in one line each."""

from calmops.decoding.sequence import Sequence, from_placement
from calmops.messages.placement import Placement, ResumedChoice
from calmops.messages.request import SamplingParams


def placement(request_id, prompt_tokens=4, *, attempt=1, resumed=(), **params):
    params.setdefault("max_tokens", 8)
    return Placement(
        request_id=request_id,
        model="m",
        attempt=attempt,
        gateway_id="g",
        stream_token=1,
        prompt_ids=tuple(range(1000, 1000 + prompt_tokens)),
        params=SamplingParams(**params),
        deadline_ns=0,
        resumed=tuple(ResumedChoice(choice=choice, token_ids=ids) for choice, ids in resumed),
    )


def sequences(request_id, prompt_tokens=4, **more) -> list[Sequence]:
    return from_placement(placement(request_id, prompt_tokens, **more))


def drain(scheduler, token=7, steps=10_000):
    """Run until nothing is live; every emission, in order."""
    emissions = []
    for _ in range(steps):
        work = scheduler.plan()
        if work is None:
            return emissions
        emissions += scheduler.commit(work, [token] * len(work.wanted))
    raise AssertionError(f"still live after {steps} steps")
