"""What a request was, from this machine's own files; the same request again; and where its tokens differ. Pure but for reading."""

import json
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from calmops.foundation.errors import InputError
from calmops.messages.captured import Captured
from calmops.messages.request import SamplingParams

Marks = Sequence[str]  # of one choice: the digest of its ids, after each token
Came = dict[int, str]  # of one choice: after how many tokens, the digest of its ids


class NotReplayable(InputError):
    """That request can't be run again from here, or not with what was given."""

    exit_code = 2


class Logged(NamedTuple):
    """What the log knows of a request: everything but its content."""

    model: str
    prompt_as: str  # "text", "ids" or "messages": how its prompt came
    params: SamplingParams  # without stop_ids
    ignore_eos: bool
    fingerprint: str | None
    marks_hash: str
    prompt_hash: str
    outcome: str


class Divergence(NamedTuple):
    """Where one choice came out otherwise."""

    choice: int
    token: int  # the first one that differs, from 1; where several came at once, the last of those
    was: int  # tokens
    came: int


def captured(folder: Path, request_id: str) -> Captured | None:
    """The request's content, if it was captured here."""
    lines = _lines_with(sorted(folder.glob("*.jsonl")), request_id)
    found = [one for line in lines if (one := _captured(line)) is not None and one.request_id == request_id]
    return max(found, key=lambda one: one.at_ns, default=None)  # the newest, where a caller used its id again


def logged(folder: Path, request_id: str) -> Logged | None:
    """What the gateways' logs say of the request, if they still do. NotReplayable if that isn't enough to run it again."""
    lines = [
        told
        for line in _lines_with(sorted(folder.glob("requests-*.jsonl*")), request_id)
        if (told := _ended(line)) is not None
    ]
    told = max(
        (one for one in lines if one["request_id"] == request_id), key=lambda one: one["time"], default=None
    )  # as above
    if told is None:
        return None
    if told["content_parameters"]:
        raise NotReplayable(
            f"{request_id} had {', '.join(told['content_parameters'])}, which are content: only a captured request with them can be replayed"
        )
    return Logged(
        told["model"], told["prompt_as"], msgspec.convert(told["params"], SamplingParams), told["ignore_eos"], told["fingerprint"],
        told["marks_hash"], told["prompt_hash"], told["outcome"],
    )  # fmt: skip


def prompt_from(text: str, given_as: str) -> str | list[Any]:
    """A prompt file's text as the request had it. NotReplayable if it isn't that."""
    if given_as == "text":
        return text
    wanted = {"ids": "token ids, as in [1, 2, 3]", "messages": 'messages, as in [{"role": "user", "content": "..."}]'}[
        given_as
    ]
    element = int if given_as == "ids" else dict
    try:
        given = json.loads(text)
    except json.JSONDecodeError:
        given = None
    if not isinstance(given, list) or not all(isinstance(one, element) for one in given):
        raise NotReplayable(f"the request's prompt came as {given_as}: give a file with a JSON list of {wanted}")
    return given


def body(model: str, params: SamplingParams, prompt: str | list[Any], salt: str, *, ignore_eos: bool) -> dict[str, Any]:
    """The request again: for /v1/completions, or with ``messages`` for /v1/chat/completions. NotReplayable for what doesn't stream.

    ``params.stop_ids``: without the model's own, which ``ignore_eos`` stands for.
    """
    if params.beam_width:
        raise NotReplayable("a beam search doesn't stream its tokens, so it can't be replayed token by token")
    messages = bool(prompt) and isinstance(prompt, list) and isinstance(prompt[0], dict)
    return {
        "model": model, "messages" if messages else "prompt": prompt, "stream": True, "max_tokens": params.max_tokens, "temperature": params.temperature,
        "top_k": params.top_k, "top_p": params.top_p, "min_p": params.min_p, "repetition_penalty": params.repetition_penalty,
        "presence_penalty": params.presence_penalty, "frequency_penalty": params.frequency_penalty,
        "logit_bias": {str(token): bias for token, bias in params.logit_bias.items()}, "seed": params.seed, "n": params.n,
        "stop": list(params.stop) or None, "stop_token_ids": list(params.stop_ids) or None, "ignore_eos": ignore_eos,
        "loop_guard": params.loop_guard, "cache_salt": salt or None,
    }  # fmt: skip


def marks(ids: Sequence[int]) -> list[str]:
    """The digest of an answer's ids after each of its tokens, as event ids bear it."""
    digests = accumulate(
        (token.to_bytes(4, "little") for token in ids), lambda digest, token: crc32(token, digest), initial=0
    )
    return [f"{digest:08x}" for digest in digests][1:]


def divergences(were: Sequence[Marks], came: Sequence[Came], *, cut: bool = False) -> list[Divergence]:
    """The choices that came out otherwise, each with its first token that differs. ``cut``: they ended before their last token."""
    found = []
    for choice, (was, now) in enumerate(zip(were, came, strict=True)):
        last = max(now, default=0)
        other = [
            count
            for count, digest in sorted(now.items())
            if (count > len(was) and not cut) or (count <= len(was) and was[count - 1] != digest)
        ]
        if other or last < len(was) or (last > len(was) and not cut):
            found.append(Divergence(choice, other[0] if other else last + 1, len(was), last))
    return found


def _captured(line: bytes) -> Captured | None:
    """None for a line that was cut off, as one is that its disk had no room for."""
    try:
        return msgspec.json.decode(line, type=Captured)
    except msgspec.MsgspecError:
        return None


def _ended(line: bytes) -> dict[str, Any] | None:
    """A log line that tells of a request's end; None for another one, or a part of one."""
    try:
        told: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return told if told.get("message") == "request ended" else None


def _lines_with(files: Sequence[Path], text: str) -> Iterator[bytes]:
    """Lines that hold a text somewhere."""
    wanted = text.encode()
    for file in files:
        with file.open("rb") as opened:
            yield from (line for line in opened if wanted in line)
