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


class Logged(NamedTuple):
    """What the log knows of a request: everything but its content."""

    model: str
    params: SamplingParams
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
    found = [one for one in (msgspec.json.decode(line, type=Captured) for line in lines) if one.request_id == request_id]
    return max(found, key=lambda one: one.at_ns, default=None)  # the newest, where a caller used its id again


def logged(folder: Path, request_id: str) -> Logged | None:
    """What the gateways' logs say of the request, if they still do. InputError if that isn't enough to run it again."""
    for line in _lines_with(sorted(folder.glob("requests-*.jsonl*")), request_id):
        told = json.loads(line)
        if told.get("request_id") != request_id or told.get("message") != "request ended":
            continue
        if told["content_parameters"]:
            raise InputError(f"{request_id} had {', '.join(told['content_parameters'])}, which are content: only a captured request with them can be replayed")
        params = msgspec.convert(told["params"], SamplingParams)
        return Logged(told["model"], params, told["fingerprint"], told["marks_hash"], told["prompt_hash"], told["outcome"])
    return None


def body(model: str, params: SamplingParams, prompt: str | list[int], salt: str) -> dict[str, Any]:
    """The request again, for /v1/completions. InputError for what doesn't stream."""
    if params.beam_width:
        raise InputError("a beam search doesn't stream its tokens, so it can't be replayed token by token")
    return {
        "model": model, "prompt": prompt, "stream": True, "max_tokens": params.max_tokens, "temperature": params.temperature,
        "top_k": params.top_k, "top_p": params.top_p, "min_p": params.min_p, "repetition_penalty": params.repetition_penalty,
        "presence_penalty": params.presence_penalty, "frequency_penalty": params.frequency_penalty,
        "logit_bias": {str(token): bias for token, bias in params.logit_bias.items()}, "seed": params.seed, "n": params.n,
        "stop": list(params.stop) or None, "stop_token_ids": list(params.stop_ids), "ignore_eos": True,
        "loop_guard": params.loop_guard, "cache_salt": salt or None,
    }  # fmt: skip


def marks(ids: Sequence[int]) -> list[str]:
    """The digest of an answer's ids after each of its tokens, as event ids bear it."""
    digests = accumulate((token.to_bytes(4, "little") for token in ids), lambda digest, token: crc32(token, digest), initial=0)
    return [f"{digest:08x}" for digest in digests][1:]


def divergences(were: Sequence[Marks], came: Sequence[Came], *, cut: bool = False) -> list[Divergence]:
    """The choices that came out otherwise, each with its first token that differs. ``cut``: they ended before their last token."""
    found = []
    for choice, (was, now) in enumerate(zip(were, came, strict=True)):
        last = max(now, default=0)
        other = [count for count, digest in sorted(now.items()) if (count > len(was) and not cut) or (count <= len(was) and was[count - 1] != digest)]
        if other or last < len(was) or (last > len(was) and not cut):
            found.append(Divergence(choice, other[0] if other else last + 1, len(was), last))
    return found


def _lines_with(files: Sequence[Path], text: str) -> Iterator[bytes]:
    """Lines that hold a text somewhere."""
    wanted = text.encode()
    for file in files:
        with file.open("rb") as opened:
            yield from (line for line in opened if wanted in line)
