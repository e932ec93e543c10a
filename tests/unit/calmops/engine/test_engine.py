"""The engine as a whole on a tiny llama: batches, chunks, preemption, migration, ends."""

import json
from pathlib import Path
from typing import Any

import pytest

from calmops.foundation.errors import InputError, ReleaseError, UnsupportedModel
from calmops.messages.placement import Placement
from tests.support.engine.engine_driver import stream_token
from tests.support.engine.engine_settings import engine_settings
from tests.support.engine.real_ranks import run_gang
from tests.support.engine.tiny_checkpoints import make_checkpoint
from tests.support.engine.tiny_engine import Run, placement

PROMPTS = [tuple((7 * n + 3 * i) % 300 + 5 for i in range(length)) for n, length in enumerate((3, 40, 70, 1, 130, 17))]
EXACT: dict[str, Any] = {"exact": True, "dtype": "bfloat16", "kv_blocks": 200}


def requests(temperature: float = 0.8, max_tokens: int = 24) -> list[Placement]:
    return [
        placement(f"r{n}", ids, temperature=temperature, seed=n, max_tokens=max_tokens) for n, ids in enumerate(PROMPTS)
    ]


@pytest.fixture(scope="module")
def alone(llama: Path) -> dict[str, list[int]]:
    """Each request's tokens when it is the only one."""
    answers = {}
    for request in requests():
        answers[request.request_id] = Run(llama, **EXACT).finish([request])[request.request_id, 0].ids
    return answers


def test_a_request_gets_the_same_tokens_in_any_batch_and_with_chunked_prefill(
    llama: Path, alone: dict[str, list[int]]
) -> None:
    run = Run(llama, **EXACT, max_rows_per_step=32, max_sequences=8)
    together = run.finish(requests())
    assert {name: together[name, 0].ids for name in alone} == alone
    assert run.kv_blocks_used == 0


def test_preempted_requests_are_recomputed_and_get_the_same_tokens(llama: Path) -> None:
    growing = [placement(f"g{n}", PROMPTS[n], temperature=0.8, seed=n, max_tokens=90) for n in (0, 3, 5)]
    expected = [Run(llama, **EXACT).finish([one])[one.request_id, 0].ids for one in growing]
    run = Run(llama, **{**EXACT, "kv_blocks": 9}, max_sequences=8, max_rows_per_step=64)
    answers = run.finish(growing)
    assert run.preempted > 0
    assert sum(answer.recomputed for answer in answers.values()) > 0
    assert [answers[one.request_id, 0].ids for one in growing] == expected
    assert all(answer.finish_reason == "length" for answer in answers.values())


@pytest.mark.parametrize("at", [1, 11, 23])
def test_a_resumed_request_goes_on_where_it_ended(llama: Path, alone: dict[str, list[int]], at: int) -> None:
    resumed = [
        placement(one.request_id, one.prompt_ids, attempt=2, temperature=0.8, seed=one.params.seed, max_tokens=24,
                  resumed=[(0, alone[one.request_id][:at])])
        for one in requests()
    ]  # fmt: skip
    for name, answer in ((key[0], answer) for key, answer in Run(llama, **EXACT).finish(resumed).items()):
        assert answer.first_index == at
        assert answer.ids == alone[name][at:]
        assert answer.released == 24


def test_the_text_of_a_resumed_request_continues_the_earlier_text(llama: Path) -> None:
    whole = Run(llama, **EXACT).finish([placement("a", PROMPTS[1], max_tokens=30, stop=("zzzz",))])["a", 0]
    first = Run(llama, **EXACT)
    first.engine.submit(placement("a", PROMPTS[1], max_tokens=30, stop=("zzzz",)))
    while len(first.answers.get(("a", 0), whole).ids) != 12:
        first.step()
    before = first.answers["a", 0]
    rest = placement("a", PROMPTS[1], attempt=2, max_tokens=30, stop=("zzzz",), resumed=[(0, before.ids)])
    assert before.text + Run(llama, **EXACT).finish([rest])["a", 0].text == whole.text


def test_a_cancelled_request_frees_its_blocks_by_the_next_step(llama: Path) -> None:
    run = Run(llama, kv_blocks=100)
    run.engine.submit(placement("a", PROMPTS[4], max_tokens=200))
    for _ in range(5):
        run.step()
    assert run.kv_blocks_used > 0
    run.engine.cancel(stream_token("a"), "client_cancelled")
    run.step()
    assert run.kv_blocks_used == 0
    assert run.summaries[stream_token("a")].error == "client_cancelled"
    assert not run.step()


def test_choices_share_a_prompt_and_differ_by_their_number_only(llama: Path) -> None:
    several = Run(llama, **EXACT).finish([placement("a", PROMPTS[4], n=3, temperature=1.0, seed=5)])
    assert len({tuple(several["a", choice].ids) for choice in range(3)}) == 3
    again = Run(llama, **EXACT).finish([placement("a", PROMPTS[4], n=3, temperature=1.0, seed=5)])
    assert [several["a", choice].ids for choice in range(3)] == [again["a", choice].ids for choice in range(3)]


def test_a_stop_string_ends_the_answer_before_it(llama: Path) -> None:
    free = Run(llama, **EXACT).finish([placement("a", PROMPTS[2], max_tokens=30)])["a", 0]
    stop = free.text[4:7]
    cut = Run(llama, **EXACT).finish([placement("a", PROMPTS[2], max_tokens=30, stop=(stop,))])["a", 0]
    assert (cut.finish_reason, cut.stop_match) == ("stop", stop)
    assert cut.text == free.text[: free.text.index(stop)]
    assert cut.released <= len(cut.ids)


def test_a_stop_id_ends_the_answer_and_is_its_last_token(llama: Path) -> None:
    free = Run(llama, **EXACT).finish([placement("a", PROMPTS[2], max_tokens=10)])["a", 0]
    cut = Run(llama, **EXACT).finish([placement("a", PROMPTS[2], max_tokens=10, stop_ids=(free.ids[3],))])["a", 0]
    assert cut.finish_reason == "stop"
    assert cut.ids == free.ids[: free.ids.index(free.ids[3]) + 1]


def test_log_probabilities_come_with_the_best_alternatives(llama: Path) -> None:
    answer = Run(llama).finish([placement("a", PROMPTS[0], max_tokens=4, logprobs=3)])["a", 0]
    assert len(answer.logprobs) == 4
    for token_id, entry in zip(answer.ids, answer.logprobs, strict=True):
        assert entry.token_id == token_id == entry.top[0][0]
        values = [value for _, value, _ in entry.top]
        assert values == sorted(values, reverse=True)
        assert entry.logprob == values[0] <= 0


def test_beam_search_finds_an_answer_at_least_as_likely_as_greedy(llama: Path) -> None:
    greedy = Run(llama).finish([placement("a", PROMPTS[1], max_tokens=8, logprobs=0)])["a", 0]
    beams = Run(llama).finish([placement("a", PROMPTS[1], max_tokens=8, logprobs=0, beam_width=4, n=2)])
    best, second = (sum(one.logprob for one in beams["a", choice].logprobs) for choice in range(2))
    assert best >= sum(one.logprob for one in greedy.logprobs) - 1e-4
    assert best >= second
    assert beams["a", 0].ids != beams["a", 1].ids


def test_a_request_that_can_never_fit_is_refused_with_both_numbers(llama: Path) -> None:
    with pytest.raises(InputError, match=r"needs 13 cache blocks .* has 4"):
        Run(llama, kv_blocks=4, max_sequences=4).engine.submit(placement("a", PROMPTS[4], max_tokens=64))


def test_weights_that_are_not_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "llama", "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rope_theta": 5.0}))
    with pytest.raises(ReleaseError, match=r"config\.json: expected sha256 [0-9a-f]{64}, found [0-9a-f]{64}"):
        Run(folder)


def test_exact_is_refused_for_a_mixture_of_experts(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "mixtral", "mixtral")
    with pytest.raises(UnsupportedModel, match="exact"):
        Run(folder, exact=True)


def _two_ranks(rank: int, tp: int, folder: Path) -> list[int] | None:
    from calmops.engine.backends.transformers import TransformersBackend
    from calmops.messages.plan import StepPlan

    backend = TransformersBackend(engine_settings(folder=folder, tp=tp), rank)
    ids = list(PROMPTS[0])
    for step in range(12):
        fresh = ids if step == 0 else ids[-1:]
        start = len(ids) - len(fresh)
        plan = StepPlan(
            step=step + 1,
            tokens=tuple(fresh),
            positions=tuple(range(start, len(ids))),
            rows_to_sequence=(0,) * len(fresh),
            block_tables=((0, 1),),
            wanted_rows=(len(fresh) - 1,),
        )
        logits = backend.step(plan)
        # Every rank needs the next token, and rank 0 alone has the logits.
        ids.append(_agree(logits, rank))
    return ids[len(PROMPTS[0]) :] if rank == 0 else None


def _agree(logits: object, rank: int) -> int:
    """Return rank 0's most likely token on every rank."""
    import torch
    import torch.distributed as dist

    chosen = torch.zeros(1, dtype=torch.int64)
    if rank == 0:
        assert isinstance(logits, torch.Tensor)
        chosen[0] = int(logits[0].argmax())
    dist.broadcast(chosen, 0)
    return int(chosen[0])


def test_two_ranks_give_the_tokens_of_one(llama: Path) -> None:
    alone = Run(llama).finish([placement("a", PROMPTS[0], max_tokens=12)])["a", 0]
    assert run_gang(_two_ranks, 2, llama) == alone.ids
