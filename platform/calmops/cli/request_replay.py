"""A replay finds a request's record in this machine's files, makes the same request and compares the tokens.

Apart from reading those files this module is pure.
"""

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

Marks = Sequence[str]  # for one choice: the digest of its token ids after each token
ReplayMarks = dict[int, str]  # for one choice: a number of tokens to the digest of its token ids after so many


class NotReplayable(InputError):
    """The request can't be run again from here, or not with the given prompt."""

    exit_code = 2


class LoggedRequest(NamedTuple):
    """Holds what the log knows of a request: everything except its content."""

    model: str
    prompt_as: str  # how the prompt came: "text", "ids" or "messages"
    params: SamplingParams  # without stop_ids
    ignore_eos: bool
    fingerprint: str | None
    marks_hash: str
    prompt_hash: str
    outcome: str


class Divergence(NamedTuple):
    """Names the first token of one choice that the replay decoded differently."""

    choice: int
    token: int  # counted from 1; if several tokens came at once, the last of those
    was: int  # tokens of the original
    came: int  # tokens of the replay


def captured_request(folder: Path, request_id: str) -> Captured | None:
    """Return the request with its content if it was captured here; the newest if a caller used its id twice."""
    lines = _lines_with(sorted(folder.glob("*.jsonl")), request_id)
    requests = [one for line in lines if (one := _captured(line)) is not None and one.request_id == request_id]
    return max(requests, key=lambda one: one.at_ns, default=None)


def logged_request(folder: Path, request_id: str) -> LoggedRequest | None:
    """Return what the gateways' logs still hold of the request; the newest if a caller used its id twice.

    Raises NotReplayable if that isn't enough to run it again.
    """
    lines = _lines_with(sorted(folder.glob("requests-*.jsonl*")), request_id)
    entries = [one for line in lines if (one := _ended(line)) is not None and one["request_id"] == request_id]
    entry = max(entries, key=lambda one: str(one["time"]), default=None)
    if entry is None:
        return None
    if entry["content_parameters"]:
        raise NotReplayable(
            f"{request_id} had {', '.join(entry['content_parameters'])}, which are content: "
            "only a captured request with them can be replayed"
        )
    return LoggedRequest(
        model=entry["model"],
        prompt_as=entry["prompt_as"],
        params=msgspec.convert(entry["params"], SamplingParams),
        ignore_eos=entry["ignore_eos"],
        fingerprint=entry["fingerprint"],
        marks_hash=entry["marks_hash"],
        prompt_hash=entry["prompt_hash"],
        outcome=entry["outcome"],
    )


def prompt_from(text: str, given_as: str) -> str | list[Any]:
    """Return a prompt file's text in the form that the request had. Raises NotReplayable if it has another form."""
    if given_as == "text":
        return text
    forms = {"ids": "token ids, as in [1, 2, 3]", "messages": 'messages, as in [{"role": "user", "content": "..."}]'}
    element = int if given_as == "ids" else dict
    try:
        given = json.loads(text)
    except json.JSONDecodeError:
        given = None
    if not isinstance(given, list) or not all(isinstance(one, element) for one in given):
        raise NotReplayable(
            f"the request's prompt came as {given_as}: give a file with a JSON list of {forms[given_as]}"
        )
    return given


def body(model: str, params: SamplingParams, prompt: str | list[Any], salt: str, *, ignore_eos: bool) -> dict[str, Any]:
    """Return the request's body: for /v1/completions or, if ``prompt`` holds messages, for /v1/chat/completions.

    ``params.stop_ids`` holds none of the model's own end tokens; ``ignore_eos`` stands for those. Raises NotReplayable
    for a request that doesn't stream.
    """
    if params.beam_width:
        raise NotReplayable("a beam search doesn't stream its tokens, so it can't be replayed token by token")
    messages = bool(prompt) and isinstance(prompt, list) and isinstance(prompt[0], dict)
    return {
        "model": model, "messages" if messages else "prompt": prompt, "stream": True,
        "max_tokens": params.max_tokens, "temperature": params.temperature,
        "top_k": params.top_k, "top_p": params.top_p, "min_p": params.min_p,
        "repetition_penalty": params.repetition_penalty,
        "presence_penalty": params.presence_penalty, "frequency_penalty": params.frequency_penalty,
        "logit_bias": {str(token): bias for token, bias in params.logit_bias.items()},
        "seed": params.seed, "n": params.n,
        "stop": list(params.stop) or None, "stop_token_ids": list(params.stop_ids) or None, "ignore_eos": ignore_eos,
        "loop_guard": params.loop_guard, "cache_salt": salt or None,
    }  # fmt: skip


def marks(ids: Sequence[int]) -> list[str]:
    """Return the digest of an answer's token ids after each of its tokens, as event ids carry it."""
    digests = accumulate(
        (token.to_bytes(4, "little") for token in ids), lambda digest, token: crc32(token, digest), initial=0
    )
    return [f"{digest:08x}" for digest in digests][1:]


def divergences(originals: Sequence[Marks], replays: Sequence[ReplayMarks], *, cut: bool = False) -> list[Divergence]:
    """Return the choices that the replay decoded differently, each with its first token that differs.

    ``cut``: the originals ended early, so tokens of the replay after theirs don't count.
    """
    differences = []
    for choice, (was, now) in enumerate(zip(originals, replays, strict=True)):
        last = max(now, default=0)
        other = [
            count
            for count, digest in sorted(now.items())
            if (count > len(was) and not cut) or (count <= len(was) and was[count - 1] != digest)
        ]
        if other or last < len(was) or (last > len(was) and not cut):
            differences.append(Divergence(choice, other[0] if other else last + 1, len(was), last))
    return differences


def _captured(line: bytes) -> Captured | None:
    """Decode one line. Return None for a line that was cut off, as happens on a full disk."""
    try:
        return msgspec.json.decode(line, type=Captured)
    except msgspec.MsgspecError:
        return None


def _ended(line: bytes) -> dict[str, Any] | None:
    """Return a log line that reports a request's end; None for another line, or a part of one."""
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return entry if entry.get("message") == "request ended" else None


def _lines_with(files: Sequence[Path], text: str) -> Iterator[bytes]:
    """Yield the lines that hold a text somewhere."""
    wanted = text.encode()
    for file in files:
        with file.open("rb") as opened:
            yield from (line for line in opened if wanted in line)
