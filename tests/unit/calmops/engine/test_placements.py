"""The engine alone at tp 1 gives a gateway the same answer to a placement, whatever else runs."""

import random
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from calmops.foundation.errors import InputError
from calmops.messages.placement import ResumedChoice
from tests.support.engine.engine_driver import Driver, drive, place, stream_token
from tests.support.engine.tiny_checkpoints import VOCABULARY

# Without a prefix cache, since these tests count what is computed; the one about the prefix cache turns it on.
EXACT: dict[str, Any] = {
    "exact": True,
    "kv_blocks": 64,
    "max_sequences": 8,
    "max_rows_per_step": 48,
    "prefix_cache": False,
}


def prompt(seed: int, length: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(3, VOCABULARY) for _ in range(length)]


@pytest.fixture(scope="module")
def driver(llama: Path) -> Driver:
    return drive(llama, **EXACT)


def alone(driver: Driver, seed: int, length: int, **params: Any) -> list[int]:
    """Return the tokens of a request that has the engine to itself."""
    name = f"alone-{len(driver.summaries)}"
    driver.submit(place(name, prompt(seed, length), **params))
    return driver.finish().answer(name).token_ids


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_requests_that_join_and_leave_a_batch_get_the_tokens_they_get_alone(driver: Driver, temperature: float) -> None:
    sizes = {s: (5 + 11 * s, 8 + 5 * s) for s in range(6)}
    expected = {
        s: alone(driver, s, length, temperature=temperature, max_tokens=most) for s, (length, most) in sizes.items()
    }
    for s, (length, most) in sizes.items():
        driver.submit(place(f"join-{temperature}-{s}", prompt(s, length), temperature=temperature, max_tokens=most))
        driver.step()
        driver.step()
    driver.finish()
    assert {s: driver.answer(f"join-{temperature}-{s}").token_ids for s in sizes} == expected
    assert max(facts.running for facts in driver.facts) >= 4


def test_a_long_prompt_is_fed_in_chunks_and_stalls_no_running_stream(driver: Driver) -> None:
    expected = alone(driver, 1, 200), alone(driver, 2, 10, max_tokens=30)
    driver.submit(place("decoder", prompt(2, 10), max_tokens=30))
    driver.step()
    driver.submit(place("long", prompt(1, 200)))
    before = len(driver.answer("decoder").token_ids)
    for more in range(1, 5):
        driver.step()
        assert len(driver.answer("decoder").token_ids) == before + more
    assert not driver.answer("long").token_ids
    driver.finish()
    assert (driver.answer("long").token_ids, driver.answer("decoder").token_ids) == expected
    assert driver.answer("long").prefilled == 200


def test_preempted_sequences_are_recomputed_and_get_the_same_tokens(llama: Path, driver: Driver) -> None:
    expected = {s: alone(driver, s, 20, max_tokens=60) for s in range(5)}
    small = drive(llama, **(EXACT | {"kv_blocks": 14}))
    for s in range(5):
        small.submit(place(f"tight-{s}", prompt(s, 20), max_tokens=60))
    small.finish()
    assert small.preempted > 0
    assert {s: small.answer(f"tight-{s}").token_ids for s in range(5)} == expected
    assert sum(small.answer(f"tight-{s}").recomputed for s in range(5)) > 0
    assert small.facts[-1].kv_blocks_used == 0


def test_a_cancelled_request_frees_its_blocks_before_the_next_step(driver: Driver) -> None:
    driver.submit(place("cancelled", prompt(1, 40), max_tokens=400, n=2))
    for _ in range(5):
        driver.step()
    assert driver.facts[-1].kv_blocks_used > 0
    driver.engine.cancel(stream_token("cancelled"), "client_cancelled")
    assert driver.step()
    assert (driver.facts[-1].kv_blocks_used, driver.facts[-1].running) == (0, 0)
    assert driver.summary("cancelled").error == "client_cancelled"
    assert not driver.step()


def test_cancelling_an_unknown_attempt_does_nothing(driver: Driver) -> None:
    driver.engine.cancel(stream_token("nobody"), "client_cancelled")
    assert not driver.step()


def test_a_cancel_of_an_older_attempt_leaves_the_newer_one_running(driver: Driver) -> None:
    driver.submit(place("moved", prompt(1, 10), attempt=2))
    driver.engine.cancel(stream_token("moved", 1), "fenced")
    driver.finish()
    assert driver.summary("moved", attempt=2).error is None
    assert len(driver.answer("moved").token_ids) == 16


def test_an_id_that_two_gateways_use_at_once_is_two_requests(llama: Path, driver: Driver) -> None:
    expected = {7: alone(driver, 1, 10), 8: alone(driver, 2, 12)[:4]}
    engine = drive(llama, **EXACT).engine
    mine = replace(place("same", prompt(1, 10)), stream_token=7)
    other = replace(place("same", prompt(2, 12)), stream_token=8, gateway_id="another")
    engine.submit(mine)
    engine.submit(other)
    with pytest.raises(InputError, match="this attempt at request same is already here"):
        engine.submit(other)
    tokens: dict[int, list[int]] = {7: [], 8: []}
    ended: dict[int, str | None] = {}
    while (result := engine.step()) is not None:
        for delta in (one for some in result.deltas.values() for one in some):
            tokens[delta.stream_token] += delta.token_ids
        ended |= {one.stream_token: one.error for one in result.summaries}
        if len(tokens[8]) == 4:
            engine.cancel(8, "client_cancelled")
    assert tokens == expected
    assert ended == {7: None, 8: "client_cancelled"}


def test_choices_of_one_request_share_their_prompts_blocks_and_differ(driver: Driver) -> None:
    driver.submit(place("many", prompt(3, 70), n=4, max_tokens=12))
    driver.finish()
    answers = [driver.answer("many", choice) for choice in range(4)]
    assert len({tuple(answer.token_ids) for answer in answers}) == 4
    assert [answer.cached for answer in answers] == [0, 64, 64, 64]
    assert [answer.finish_reason for answer in answers] == ["length"] * 4
    assert driver.summary("many").error is None
    assert max(facts.kv_blocks_used for facts in driver.facts[-15:]) <= 4 + 4 * 2
    assert answers[0].token_ids == alone(driver, 3, 70, max_tokens=12)


def test_beam_search_finds_a_likelier_answer_than_greedy_and_gives_it_in_one_delta(driver: Driver) -> None:
    greedy = place("greedy", prompt(5, 9), temperature=0.0, logprobs=0, max_tokens=6)
    driver.submit(greedy)
    driver.submit(place("beams", prompt(5, 9), beam_width=4, n=2, logprobs=0, max_tokens=6))
    driver.finish()
    sums = [sum(one.logprob for one in driver.answer("beams", choice).logprobs) for choice in range(2)]
    assert sums == sorted(sums, reverse=True)
    assert sums[0] >= sum(one.logprob for one in driver.answer("greedy").logprobs) - 1e-4
    assert [len(driver.answer("beams", choice).released) for choice in range(2)] == [1, 1]
    assert driver.answer("beams", 1).finish_reason == "length"
    assert driver.summary("beams").error is None
    assert driver.facts[-1].kv_blocks_used == 0


def test_a_beam_search_is_the_same_beside_strangers_and_when_preempted(llama: Path, driver: Driver) -> None:
    params: dict[str, Any] = {"beam_width": 3, "n": 3, "max_tokens": 40}
    driver.submit(place("quiet", prompt(6, 30), **params))
    driver.finish()
    small = drive(llama, **(EXACT | {"kv_blocks": 20}))
    for s in range(3):
        small.submit(place(f"stranger-{s}", prompt(s, 30), max_tokens=60))
    small.submit(place("busy", prompt(6, 30), **params))
    small.finish()
    assert small.preempted > 0
    for choice in range(3):
        assert small.answer("busy", choice).token_ids == driver.answer("quiet", choice).token_ids


def test_a_stop_string_ends_a_choice_and_is_not_released(driver: Driver) -> None:
    whole = place("whole", prompt(8, 12), max_tokens=40)
    driver.submit(whole)
    text = driver.finish().answer("whole").text
    stop = text[10:13]
    driver.submit(place("stopped", prompt(8, 12), max_tokens=40, stop=(stop, "never said")))
    answer = driver.finish().answer("stopped")
    assert answer.text == text[: text.index(stop)]
    assert (answer.finish_reason, answer.stop_match) == ("stop", stop)
    assert answer.released[-1] < len(answer.token_ids)
    assert driver.summary("stopped").error is None


def test_a_stop_id_ends_a_choice_and_counts_as_released(driver: Driver) -> None:
    ids = alone(driver, 9, 12, max_tokens=10)
    driver.submit(place("ended", prompt(9, 12), max_tokens=10, stop_ids=(ids[5],)))
    answer = driver.finish().answer("ended")
    assert answer.token_ids == ids[: ids.index(ids[5]) + 1]
    assert answer.finish_reason == "stop"
    assert answer.released[-1] == len(answer.token_ids)


def test_a_runaway_repetition_ends_with_its_own_reason(driver: Driver) -> None:
    driver.submit(place("loop", prompt(9, 12), max_tokens=600, logit_bias={77: 100.0}))
    assert driver.finish().answer("loop").finish_reason == "loop_guard"
    assert len(driver.answer("loop").token_ids) < 300


def test_log_probabilities_come_with_each_token_best_alternatives_first(driver: Driver) -> None:
    driver.submit(place("logprobs", prompt(2, 12), temperature=0.0, logprobs=3))
    answer = driver.finish().answer("logprobs")
    assert len(answer.logprobs) == len(answer.token_ids)
    for token_id, entry in zip(answer.token_ids, answer.logprobs, strict=True):
        values = [value for _, value, _ in entry.top]
        assert entry.token_id == token_id == entry.top[0][0]
        assert entry.logprob == values[0] <= 0
        assert values == sorted(values, reverse=True) and len(values) == 3
    assert b"".join(entry.token_bytes for entry in answer.logprobs).decode(errors="replace") == answer.text


@pytest.mark.parametrize("cut", [1, 7, 15, 16, 17, 29])
def test_a_resumed_placement_goes_on_right_after_what_was_emitted(driver: Driver, cut: int) -> None:
    params: dict[str, Any] = {"max_tokens": 30, "stop": ("\x00never",)}
    driver.submit(place(f"undisturbed-{cut}", prompt(4, 21), **params))
    whole = driver.finish().answer(f"undisturbed-{cut}")
    emitted = ResumedChoice(choice=0, token_ids=tuple(whole.token_ids[:cut]))
    driver.submit(place(f"resumed-{cut}", prompt(4, 21), resumed=[emitted], attempt=2, **params))
    rest = driver.finish().answer(f"resumed-{cut}")
    assert (rest.first, rest.token_ids) == (cut, whole.token_ids[cut:])
    assert rest.released[-1] == whole.released[-1]
    assert whole.text.endswith(rest.text)
    assert rest.recomputed == 21 + cut - 1
    assert (len(whole.token_ids), rest.finish_reason) == (30, "length")
    assert driver.summary(f"resumed-{cut}", attempt=2).error is None


def test_only_the_unfinished_choices_of_a_resumed_request_run(driver: Driver) -> None:
    resumed = [ResumedChoice(choice=0, token_ids=(5, 6), finished=True), ResumedChoice(choice=1, token_ids=(9,))]
    driver.submit(place("half", prompt(4, 21), n=2, resumed=resumed, attempt=2))
    driver.finish()
    assert ("half", 0) not in driver.answers
    rest = driver.answer("half", 1)
    assert (rest.first, len(rest.token_ids), rest.finish_reason) == (1, 15, "length")
    assert driver.summary("half", attempt=2).error is None


def test_a_resumed_request_with_nothing_left_to_do_is_over_at_once(driver: Driver) -> None:
    resumed = [ResumedChoice(choice=0, token_ids=(5, 6), finished=True)]
    driver.submit(place("over", prompt(4, 21), resumed=resumed, attempt=2))
    assert driver.step()
    assert driver.summary("over", attempt=2).error is None
    assert ("over", 0) not in driver.answers
    assert not driver.step()


def test_an_impossible_request_is_refused_and_leaves_nothing_behind(driver: Driver) -> None:
    with pytest.raises(InputError, match="blocks"):
        driver.submit(place("huge", prompt(1, 900), max_tokens=500))
    assert not driver.step()


def test_a_request_that_begins_like_an_earlier_one_uses_its_blocks_and_gets_the_same_tokens(
    llama: Path, driver: Driver
) -> None:
    cached = drive(llama, **(EXACT | {"prefix_cache": True}))
    first, again = (alone(cached, 6, 100), alone(cached, 6, 100))
    assert first == again == alone(driver, 6, 100)
    assert [cached.answer(f"alone-{number}").cached for number in range(2)] == [0, 96]


def test_settings_that_give_other_bits_have_other_fingerprints(llama: Path, driver: Driver) -> None:
    bf16 = drive(llama, **EXACT, dtype="bfloat16").engine.fingerprint
    slow = drive(llama, **EXACT, backend="transformers").engine.fingerprint
    fast = drive(llama, **(EXACT | {"exact": False}), backend="transformers").engine.fingerprint
    int8 = drive(llama, **EXACT, quantize="int8").engine.fingerprint
    again = drive(llama, **(EXACT | {"kv_blocks": 7})).engine.fingerprint
    assert len({bf16, slow, fast, int8, driver.engine.fingerprint}) == 5
    assert again == driver.engine.fingerprint
