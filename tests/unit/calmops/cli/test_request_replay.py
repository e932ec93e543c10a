"""An ended request is run again from its record, and its tokens are compared."""

import json
from pathlib import Path

import msgspec
import pytest

from calmops.cli.request_replay import (
    Divergence,
    NotReplayable,
    body,
    captured_request,
    divergences,
    logged_request,
    marks,
    prompt_from,
)
from calmops.foundation.errors import InputError
from calmops.messages.captured import Captured
from calmops.messages.frame import Delta
from calmops.messages.request import GenerationRequest, SamplingParams
from calmops.streams.journal import Journal

KEPT = Captured(
    request_id="r1", model="m", at_ns=1, outcome="completed", fingerprint="f", prompt_ids=(5, 6), answers=((1, 2, 3),),
    params=SamplingParams(max_tokens=9, seed=7, stop=("x",), stop_ids=(0,)),
)  # fmt: skip


def came(ids: list[int], *counts: int) -> dict[int, str]:
    """The marks of event ids after these numbers of tokens; after each token if none is given."""
    every = marks(ids)
    return {count: every[count - 1] for count in counts or range(1, len(ids) + 1)}


def test_digests_are_those_of_event_ids() -> None:
    request = GenerationRequest(
        request_id="r", model="m", prompt_ids=(1,), params=SamplingParams(max_tokens=9), stream=True, timeout_s=9
    )
    journal = Journal(request, "gw", 0)
    journal.place(1, 0, ())
    taken = [
        journal.take(
            Delta(
                request_id="r", stream_token=1, attempt=1, choice=0, index=at, token_ids=(token,), text="", released=at
            ),
            0,
            0,
        )
        for at, token in enumerate((4095, 0, 17))
    ]
    assert [one.event_id.split(":")[2] for one in taken if one] == marks([4095, 0, 17])
    assert journal.digests() == marks([4095, 0, 17])[-1]


@pytest.mark.parametrize(
    ("was", "now", "expected"),
    [
        ([1, 2, 3], came([1, 2, 3]), []),
        ([1, 2, 3], came([1, 2, 3], 1, 3), []),
        ([1, 2, 3], came([1, 9, 3]), [Divergence(0, 2, 3, 3)]),
        ([1, 2, 3], came([1, 9, 3], 3), [Divergence(0, 3, 3, 3)]),
        ([1, 2, 3], came([1, 2]), [Divergence(0, 3, 3, 2)]),
        ([1, 2], came([1, 2, 3]), [Divergence(0, 3, 2, 3)]),
        ([], {}, []),
    ],
)  # fmt: skip
def test_the_first_token_that_differs_is_named(was: list[int], now: dict[int, str], expected: list[Divergence]) -> None:
    assert divergences([marks(was)], [now]) == expected


def test_a_captured_request_is_found_among_others(tmp_path: Path) -> None:
    other = msgspec.structs.replace(KEPT, request_id="r1-and-more")
    (tmp_path / "gw.jsonl").write_bytes(
        b"\n".join([*map(msgspec.json.encode, (other, KEPT)), msgspec.json.encode(KEPT)[:50]])
    )
    assert captured_request(tmp_path, "r1") == KEPT
    assert captured_request(tmp_path, "r2") is None


def test_a_replay_asks_for_the_same_draws() -> None:
    asked = body(KEPT.model, KEPT.params, list(KEPT.prompt_ids), "", ignore_eos=True)
    assert {name: asked[name] for name in ("prompt", "seed", "stop", "stop_token_ids", "ignore_eos", "stream")} == {
        "prompt": [5, 6], "seed": 7, "stop": ["x"], "stop_token_ids": [0], "ignore_eos": True, "stream": True,
    }  # fmt: skip
    with pytest.raises(InputError, match="beam search"):
        body("m", SamplingParams(max_tokens=1, beam_width=2), "p", "", ignore_eos=False)
    said = [{"role": "user", "content": "hello"}]
    assert body("m", SamplingParams(max_tokens=1), said, "", ignore_eos=False)["messages"] == said


def test_the_log_knows_a_request_but_not_one_whose_parameters_were_content(tmp_path: Path) -> None:
    line = {
        "time": "2026-01-02", "request_id": "r1", "message": "request ended", "model": "m",
        "params": {"max_tokens": 3, "seed": 5}, "prompt_as": "ids", "ignore_eos": False, "fingerprint": "f",
        "marks_hash": "a", "prompt_hash": "b", "outcome": "length", "content_parameters": [],
    }  # fmt: skip
    lines = [
        line | {"time": "2026-01-01", "marks_hash": "older"},
        line,
        line | {"request_id": "r2", "content_parameters": ["stop"]},
    ]
    (tmp_path / "requests-gw.jsonl").write_text("\n".join([*map(json.dumps, lines), json.dumps(line)[:60]]))
    entry = logged_request(tmp_path, "r1")
    assert entry is not None
    assert (entry.params, entry.marks_hash, entry.prompt_as) == (SamplingParams(max_tokens=3, seed=5), "a", "ids")
    assert logged_request(tmp_path, "r3") is None
    with pytest.raises(NotReplayable, match="r2 had stop, which are content"):
        logged_request(tmp_path, "r2")


def test_a_prompt_file_holds_the_prompt_as_the_request_had_it() -> None:
    assert prompt_from("[1, 2]", "text") == "[1, 2]"
    assert prompt_from("[1, 2]", "ids") == [1, 2]
    assert prompt_from('[{"role": "user", "content": "x"}]', "messages") == [{"role": "user", "content": "x"}]
    for text, given_as in (("hello", "ids"), ("[1]", "messages"), ('{"a": 1}', "ids"), ("[null]", "ids")):
        with pytest.raises(NotReplayable, match=f"came as {given_as}: give a file with a JSON list of"):
            prompt_from(text, given_as)
