"""The journal's books balance through simulated lives: frames, deaths, stale frames, duplicates, gaps."""

import random
from typing import Any

import pytest

from calmops.messages.frame import Delta
from calmops.messages.placement import Placement
from calmops.messages.request import GenerationRequest, SamplingParams
from calmops.streams.journal import Journal, OutOfStep, Taken


def request(n: int = 1, max_tokens: int = 20, beam_width: int = 0) -> GenerationRequest:
    return GenerationRequest(
        request_id="r", model="m", prompt_ids=(1, 2, 3), stream=True, timeout_s=60.0,
        params=SamplingParams(max_tokens=max_tokens, n=n, beam_width=beam_width),
    )  # fmt: skip


def delta(placement: Placement, index: int, ids: tuple[int, ...], **changes: Any) -> Delta:
    fields = {
        "request_id": "r", "stream_token": placement.stream_token, "attempt": placement.attempt, "choice": 0,
        "index": index, "token_ids": ids, "text": "x" * len(ids), "released": index + len(ids),
    }  # fmt: skip
    return Delta(**{**fields, **changes})


class Replica:
    """Decodes the one right answer from wherever it is resumed, and may hold text back."""

    def __init__(self, placement: Placement, answers: list[list[int]], rng: random.Random) -> None:
        self.placement = placement
        self.answers = answers
        self.rng = rng
        self.at = [0] * len(answers)
        self.released = [0] * len(answers)
        self.done = [False] * len(answers)
        for resumed in placement.resumed:
            assert list(resumed.token_ids) == answers[resumed.choice][: len(resumed.token_ids)]
            self.at[resumed.choice] = len(resumed.token_ids)
            self.released[resumed.choice] = len(resumed.token_ids)
            self.done[resumed.choice] = resumed.finished

    def step(self) -> Delta | None:
        open_choices = [choice for choice, done in enumerate(self.done) if not done]
        if not open_choices:
            return None
        choice = self.rng.choice(open_choices)
        answer, index = self.answers[choice], self.at[choice]
        ids = tuple(answer[index : index + 1])
        self.at[choice] += len(ids)
        end = self.at[choice] == len(answer)
        self.done[choice] = end
        if end or self.rng.random() < 0.8:
            self.released[choice] = self.at[choice]
        return delta(
            self.placement,
            index,
            ids,
            choice=choice,
            released=self.released[choice],
            finish_reason="stop" if end else None,
        )


@pytest.mark.parametrize("seed", range(400))
def test_a_stream_stays_gapless_and_its_books_balance_through_deaths_and_stale_frames(seed: int) -> None:
    rng = random.Random(seed)
    n = rng.randint(1, 3)
    answers = [[rng.randrange(1000) for _ in range(rng.randint(1, 20))] for _ in range(n)]
    journal = Journal(request(n=n), "gw", accepted_ns=0)
    seen: list[list[int]] = [[] for _ in range(n)]
    stale: list[Delta] = []
    delivered, now_ns = 0, 0
    replica: Replica | None = None
    while not journal.finished:
        if replica is None or rng.random() < 0.1:
            late = replica.step() if replica else None
            stale += [late] if late else []
            held = [list(c.ids) for c in journal._choices]
            placement = journal.place(rng.getrandbits(62), 0, ())
            replica = Replica(placement, answers, rng)
            replica.released = [max(a, b.released) for a, b in zip([0] * n, journal._choices, strict=True)]
            assert [list(resumed.token_ids) for resumed in placement.resumed] == [ids for ids in held if ids]
        now_ns += rng.randint(1, 10**9)
        if stale and rng.random() < 0.3:
            assert journal.take(rng.choice(stale), now_ns, now_ns) is None
        step = replica.step()
        if step is None:
            break
        taken = journal.take(step, now_ns, now_ns)
        assert isinstance(taken, Taken)
        seen[taken.choice] += taken.new_ids
        delivered += taken.released
        if step.finish_reason:
            stale.append(step)
    assert journal.finished
    assert seen == answers
    closed = journal.close("completed", now_ns, now_ns)
    assert closed.journaled == sum(map(len, answers)) == closed.delivered + closed.discarded
    assert closed.delivered == delivered


@pytest.mark.parametrize("index", [0, 2])
def test_a_gap_or_an_overlap_is_out_of_step(index: int) -> None:
    journal = Journal(request(), "gw", accepted_ns=0)
    placement = journal.place(7, 0, ())
    journal.take(delta(placement, 0, (5,)), 1, 1)
    with pytest.raises(OutOfStep, match="1 are journaled"):
        journal.take(delta(placement, index, (6,)), 2, 2)


@pytest.mark.parametrize("change", [{"attempt": 1}, {"stream_token": 8}, {"choice": 4}])
def test_frames_of_another_attempt_token_or_choice_are_fenced_off(change: dict[str, int]) -> None:
    journal = Journal(request(), "gw", accepted_ns=0)
    journal.place(6, 0, ())
    placement = journal.place(7, 0, ())
    assert journal.take(delta(placement, 0, (5,), **change), 1, 1) is None
    assert journal.journaled == 0


def test_the_same_ids_give_the_same_event_ids_however_they_came() -> None:
    event_ids = []
    for cut in (1, 2, 3):
        journal = Journal(request(), "gw", accepted_ns=0)
        placement = journal.place(7, 0, ())
        journal.take(delta(placement, 0, (9, 8, 7)[:cut]), 1, 1)
        last = journal.take(delta(placement, cut, (9, 8, 7, 6)[cut:]), 2, 2)
        assert last is not None
        event_ids.append(last.event_id)
    assert len(set(event_ids)) == 1
    assert event_ids[0].startswith("0:4:")


def test_beam_search_starts_over_on_migration() -> None:
    journal = Journal(request(beam_width=2), "gw", accepted_ns=0)
    journal.place(7, 0, ())
    assert journal.place(8, 0, ("lost",)).resumed == ()


def test_tokens_that_never_reached_the_server_count_as_discarded() -> None:
    journal = Journal(request(), "gw", accepted_ns=10)
    placement = journal.place(7, 0, ())
    journal.take(delta(placement, 0, (5, 6, 7), released=2), 20, 30)
    closed = journal.close("client_cancelled", 50, 60, undelivered=1)
    assert (closed.journaled, closed.delivered, closed.discarded) == (3, 1, 2)
    assert (closed.ttft_ns, closed.duration_ns) == (20, 40)


def test_a_request_waits_until_its_first_step_began_and_not_before_it_came() -> None:
    for began_ns, queued_ns in (([30, 50], 20), ([5, 50], 0), ([], None)):
        journal = Journal(request(), "gw", accepted_ns=10)
        for step_ns in began_ns:
            journal.stepped(step_ns)
        assert journal.close("timeout", 60, 60).queued_ns == queued_ns


def test_a_request_is_closed_once() -> None:
    journal = Journal(request(), "gw", accepted_ns=0)
    journal.close("failed", 1, 1)
    with pytest.raises(AssertionError, match="closed before"):
        journal.close("failed", 1, 1)
