"""A full gateway refuses at once, and a place is free again as soon as a request ends."""

import pytest

from calmops.foundation.errors import LoadError
from calmops.intake.admission import Admission
from calmops.messages.request import GenerationRequest, SamplingParams


def request(number: int, *, probe: bool = False) -> GenerationRequest:
    params = SamplingParams(max_tokens=1)
    return GenerationRequest(
        request_id=f"r{number}", model="tiny", prompt_ids=(1,), params=params, stream=False, timeout_s=1.0, probe=probe
    )


def test_a_request_above_the_limit_is_refused_with_the_limit_and_a_retry_time() -> None:
    admission = Admission(3)
    for number in range(3):
        admission.enter(request(number))
    with pytest.raises(LoadError, match="the limit is 3") as caught:
        admission.enter(request(3))
    assert (caught.value.status, caught.value.retry_after_s, admission.refused, admission.inside) == (429, 1, 1, 3)


def test_retry_after_grows_with_the_load_and_is_bounded() -> None:
    waits = []
    for bound in (1, 100, 10_000):
        admission = Admission(bound)
        for number in range(bound):
            admission.enter(request(number))
        with pytest.raises(LoadError) as caught:
            admission.enter(request(-1))
        waits.append(caught.value.retry_after_s)
    assert waits == [1, 5, 30]


def test_a_request_that_ends_frees_its_place_and_ending_twice_frees_only_one() -> None:
    admission = Admission(1)
    admission.enter(request(1))
    admission.leave(request(1))
    admission.leave(request(1))
    admission.enter(request(2))
    assert admission.inside == 1


def test_a_probe_always_gets_in() -> None:
    admission = Admission(1)
    admission.enter(request(1))
    admission.enter(request(2, probe=True))
    assert admission.inside == 2
