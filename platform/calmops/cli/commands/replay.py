"""`calmops replay`: a request again from its record, and token by token whether it comes out the same."""

import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import typer

from calmops.cli import request_replay
from calmops.cli.client import STREAM_SILENCE_S, TOKEN_FILE, URL, Connect, Server, Target, refusal, unreachable
from calmops.cli.output import AS_JSON, print_json
from calmops.cli.request_replay import Came, NotReplayable
from calmops.foundation import paths
from calmops.foundation.errors import CalmopsError, UnavailableError
from calmops.foundation.json_log import PromptHash, open_log
from calmops.messages.record import SUCCESSES

LOGGED_S = 5.0
NOWHERE = "{id}: not among the requests of this machine's logs ({home}); replay runs where its gateway ran, while the log keeps it"


def register(app: typer.Typer, connect: Connect) -> None:
    """Add the command."""

    @app.command()
    def replay(
        request_id: str = typer.Argument(help="The x-request-id of a request that has ended."),
        prompt: Path | None = typer.Option(
            None,
            "--prompt",
            help="File with the prompt, exactly: its text, or JSON of its token ids or messages. Needed where content isn't captured.",
        ),
        url: str | None = URL,
        token_file: Path | None = TOKEN_FILE,
        as_json: bool = AS_JSON,
    ) -> None:
        """Run a request again from its record and say where its tokens differ: exit 0 if nowhere, 1 if somewhere, 2 if it can't be run again."""
        server = connect(Target(url, token_file))
        kept = request_replay.captured(paths.home() / "captured", request_id)
        if kept is not None:
            open_log("audit", "replay").info("content read", extra={"request_id": request_id, "by_uid": os.getuid()})
        result = _token_by_token(server, kept) if kept is not None else _as_a_whole(server, request_id, prompt)
        if as_json:
            print_json({"request_id": request_id, **result})
        else:
            typer.echo(f"{request_id}: {_said(result)}")
        if result["diverged"]:
            raise typer.Exit(1)


def _token_by_token(server: Server, kept: Any) -> dict[str, Any]:
    """Against the captured ids."""
    written = tuple(token for token in kept.params.stop_ids if token not in kept.end_ids)
    params = msgspec.structs.replace(kept.params, stop_ids=written)
    ignore_eos = not set(kept.end_ids) <= set(kept.params.stop_ids)
    asked = request_replay.body(kept.model, params, list(kept.prompt_ids), kept.cache_salt, ignore_eos=ignore_eos)
    fingerprint = _fingerprint(server, kept.model, kept.fingerprint)
    came = _run(server, asked, f"replay-{secrets.token_hex(8)}", kept.params.n)
    cut = kept.outcome not in SUCCESSES  # it had not all its tokens yet: those that it had are compared
    found = request_replay.divergences([request_replay.marks(ids) for ids in kept.answers], came, cut=cut)
    return {
        "tokens": sum(map(len, kept.answers)), "choices": kept.params.n, "diverged": [one._asdict() for one in found],
        "cut": kept.outcome if cut else None, "fingerprint": fingerprint,
    }  # fmt: skip


def _as_a_whole(server: Server, request_id: str, prompt: Path | None) -> dict[str, Any]:
    """Against the keyed hash of all its tokens: where they differ can't be said without the content."""
    told = request_replay.logged(paths.home() / "logs", request_id)
    if told is None:
        raise NotReplayable(NOWHERE.format(id=request_id, home=paths.home() / "logs"))
    if prompt is None:
        raise NotReplayable(
            f"{request_id}: its content wasn't captured; give the prompt with --prompt FILE, or set capture.enabled for later ones"
        )
    again = f"replay-{secrets.token_hex(8)}"
    try:
        text = prompt.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotReplayable(f"--prompt: can't read {prompt}: {error}") from error
    if told.outcome not in SUCCESSES:
        raise NotReplayable(
            f"{request_id} ended as {told.outcome}, before its last token: only a captured one can be compared as far as it came"
        )
    fingerprint = _fingerprint(server, told.model, told.fingerprint)
    asked = request_replay.body(
        told.model, told.params, request_replay.prompt_from(text, told.prompt_as), "", ignore_eos=told.ignore_eos
    )
    came = _run(server, asked, again, told.params.n)
    if _repeated(again).prompt_hash != told.prompt_hash:
        raise NotReplayable(
            f"--prompt {prompt}: that is another prompt than {request_id} had (their keyed hashes differ)"
        )
    same = PromptHash().of_text(",".join(marks[max(marks)] if marks else "" for marks in came)) == told.marks_hash
    return {
        "tokens": sum(max(marks, default=0) for marks in came), "choices": told.params.n,
        "diverged": [] if same else [{"choice": None, "token": None}], "cut": None, "fingerprint": fingerprint,
    }  # fmt: skip


def _repeated(request_id: str) -> request_replay.Logged:
    """The replay's own line, which the gateway writes once the stream has ended."""
    until_s = time.monotonic() + LOGGED_S
    while time.monotonic() < until_s:
        told = request_replay.logged(paths.home() / "logs", request_id)
        if told is not None:
            return told
        time.sleep(0.05)
    raise UnavailableError(
        f"{request_id}: its gateway logged no such request within {LOGGED_S:g} s; replay runs where that gateway runs"
    )


def _run(server: Server, asked: dict[str, Any], request_id: str, choices: int) -> list[Came]:
    """The digests of each choice, after each event that had tokens of it."""
    came: list[Came] = [{} for _ in range(choices)]
    timeout = httpx.Timeout(STREAM_SILENCE_S)
    given = {key: value for key, value in asked.items() if value is not None}
    try:
        path = "/v1/chat/completions" if "messages" in given else "/v1/completions"
        with server.http.stream(
            "POST", path, json=given, headers={"x-request-id": request_id}, timeout=timeout
        ) as answer:
            if answer.is_error:
                raise refusal(answer.status_code, answer.read().decode(errors="replace"))
            for line in answer.iter_lines():
                if line.startswith("id: "):
                    _note(came, line[4:])
                elif line.startswith("data: {") and "error" in (said := json.loads(line[6:])):
                    raise CalmopsError(f"the replay ended with an error: {said['error'].get('message')}")
    except httpx.TransportError as error:
        raise unreachable(server.url, error) from error
    return came


def _note(came: list[Came], event_id: str) -> None:
    """Each choice's mark: its number, how many tokens it has, and their digest."""
    for mark in event_id.split(","):
        choice, count, digest = mark.split(":")
        if int(count):
            came[int(choice)][int(count)] = digest


def _fingerprint(server: Server, model: str, was: str | None) -> str:
    """Whether what decodes now is what decoded then: only then are the same tokens promised."""
    now = {gang["fingerprint"] for gang in server.get("/admin/inventory")["gangs"] if gang["model"] == model}
    return "the same" if now == {was} else f"another: was {was}, is {', '.join(sorted(now)) or 'none'}"


def _said(result: dict[str, Any]) -> str:
    whole = f"{result['tokens']} tokens of {result['choices']} choice{'s' if result['choices'] > 1 else ''}"
    whole += f" that it had when it ended as {result['cut']}" if result["cut"] else ""
    if not result["diverged"]:
        return f"the same, all {whole} (fingerprint: {result['fingerprint']})"
    if result["diverged"][0]["choice"] is None:
        return f"not the same: {whole} came, other ones than before (fingerprint: {result['fingerprint']}); capture would tell where"
    places = ", ".join(
        f"choice {one['choice']} from token {one['token']} of {one['was']}" for one in result["diverged"]
    )
    return f"not the same: {places} (fingerprint: {result['fingerprint']})"
