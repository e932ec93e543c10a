"""`calmops replay` runs an ended request again from its record and compares the tokens."""

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
from calmops.cli.request_replay import NotReplayable, ReplayMarks
from calmops.foundation import paths
from calmops.foundation.errors import CalmopsError, UnavailableError
from calmops.foundation.json_log import PromptHash, open_log
from calmops.messages.captured import Captured
from calmops.messages.record import SUCCESSES

LOGGED_S = 5.0
NOT_LOGGED = (
    "{id}: not among the requests of this machine's logs ({home}); "
    "replay runs where its gateway ran, while the log keeps it"
)


def register(app: typer.Typer, connect: Connect) -> None:
    """Add the command."""

    @app.command()
    def replay(
        request_id: str = typer.Argument(help="Id of a request that has ended (the x-request-id of its answer)."),
        prompt: Path | None = typer.Option(
            None,
            "--prompt",
            help="File with exactly the request's prompt: its text, or a JSON list of its token ids or messages. "
            "Needed unless the request's content was captured.",
        ),
        url: str | None = URL,
        token_file: Path | None = TOKEN_FILE,
        as_json: bool = AS_JSON,
    ) -> None:
        """Run an ended request again and compare its tokens.

        Exit code 0 means that all tokens are the same, 1 that some differ, 2 that the request can't be run again.
        Run it on the machine of the request's gateway, whose files hold the request's record.
        """
        server = connect(Target(url, token_file))
        original = request_replay.captured_request(paths.home() / "captured", request_id)
        if original is not None:
            open_log("audit", "replay").info("content read", extra={"request_id": request_id, "by_uid": os.getuid()})
            result = _compare_tokens(server, original)
        else:
            result = _compare_hashes(server, request_id, prompt)
        if as_json:
            print_json({"request_id": request_id, **result})
        else:
            typer.echo(f"{request_id}: {_verdict(result)}")
        if result["diverged"]:
            raise typer.Exit(1)


def _compare_tokens(server: Server, original: Captured) -> dict[str, Any]:
    """Run a captured request again and compare each token with the captured one."""
    written = tuple(token for token in original.params.stop_ids if token not in original.end_ids)
    params = msgspec.structs.replace(original.params, stop_ids=written)
    ignore_eos = not set(original.end_ids) <= set(original.params.stop_ids)
    body = request_replay.body(
        original.model, params, list(original.prompt_ids), original.cache_salt, ignore_eos=ignore_eos
    )
    fingerprint = _fingerprint(server, original.model, original.fingerprint)
    replays = _run(server, body, f"replay-{secrets.token_hex(8)}", original.params.n)
    cut = original.outcome not in SUCCESSES  # it ended early: only the tokens that it had are compared
    originals = [request_replay.marks(ids) for ids in original.answers]
    differences = request_replay.divergences(originals, replays, cut=cut)
    return {
        "tokens": sum(map(len, original.answers)), "choices": original.params.n,
        "diverged": [one._asdict() for one in differences],
        "cut": original.outcome if cut else None, "fingerprint": fingerprint,
    }  # fmt: skip


def _compare_hashes(server: Server, request_id: str, prompt: Path | None) -> dict[str, Any]:
    """Run a logged request again and compare the keyed hash of all its tokens.

    Without the content it can't be said where the tokens differ.
    """
    original = request_replay.logged_request(paths.home() / "logs", request_id)
    if original is None:
        raise NotReplayable(NOT_LOGGED.format(id=request_id, home=paths.home() / "logs"))
    if prompt is None:
        raise NotReplayable(
            f"{request_id}: its content wasn't captured; give the prompt with --prompt FILE, "
            "or set capture.enabled for later requests"
        )
    replay_id = f"replay-{secrets.token_hex(8)}"
    try:
        text = prompt.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotReplayable(f"--prompt: can't read {prompt}: {error}") from error
    if original.outcome not in SUCCESSES:
        raise NotReplayable(
            f"{request_id} ended as {original.outcome}, before its last token: "
            "only a captured request can be compared up to where it ended"
        )
    fingerprint = _fingerprint(server, original.model, original.fingerprint)
    given = request_replay.prompt_from(text, original.prompt_as)
    body = request_replay.body(original.model, original.params, given, "", ignore_eos=original.ignore_eos)
    replays = _run(server, body, replay_id, original.params.n)
    if _await_log_line(replay_id).prompt_hash != original.prompt_hash:
        raise NotReplayable(
            f"--prompt {prompt}: that is another prompt than {request_id} had (their keyed hashes differ)"
        )
    last_marks = ",".join(marks[max(marks)] if marks else "" for marks in replays)
    same = PromptHash().of_text(last_marks) == original.marks_hash
    return {
        "tokens": sum(max(marks, default=0) for marks in replays), "choices": original.params.n,
        "diverged": [] if same else [{"choice": None, "token": None}], "cut": None, "fingerprint": fingerprint,
    }  # fmt: skip


def _await_log_line(request_id: str) -> request_replay.LoggedRequest:
    """Return the replay's own log line, which the gateway writes once the stream has ended."""
    until_s = time.monotonic() + LOGGED_S
    while time.monotonic() < until_s:
        logged = request_replay.logged_request(paths.home() / "logs", request_id)
        if logged is not None:
            return logged
        time.sleep(0.05)
    raise UnavailableError(
        f"{request_id}: its gateway logged no such request within {LOGGED_S:g} s; replay runs where that gateway runs"
    )


def _run(server: Server, body: dict[str, Any], request_id: str, choices: int) -> list[ReplayMarks]:
    """Send the request and return the digests of each choice, after each event that had tokens of it."""
    replays: list[ReplayMarks] = [{} for _ in range(choices)]
    timeout = httpx.Timeout(STREAM_SILENCE_S)
    given = {key: value for key, value in body.items() if value is not None}
    try:
        path = "/v1/chat/completions" if "messages" in given else "/v1/completions"
        with server.http.stream(
            "POST", path, json=given, headers={"x-request-id": request_id}, timeout=timeout
        ) as answer:
            if answer.is_error:
                raise refusal(answer.status_code, answer.read().decode(errors="replace"))
            for line in answer.iter_lines():
                if line.startswith("id: "):
                    _note(replays, line[4:])
                elif line.startswith("data: {") and "error" in (said := json.loads(line[6:])):
                    raise CalmopsError(f"the replay ended with an error: {said['error'].get('message')}")
    except httpx.TransportError as error:
        raise unreachable(server.url, error) from error
    return replays


def _note(replays: list[ReplayMarks], event_id: str) -> None:
    """Add an event id's marks; each one has the choice's number, how many tokens it has, and their digest."""
    for mark in event_id.split(","):
        choice, count, digest = mark.split(":")
        if int(count):
            replays[int(choice)][int(count)] = digest


def _fingerprint(server: Server, model: str, was: str | None) -> str:
    """Compare the gangs' fingerprint now with that of then: only if they are equal are the same tokens promised."""
    now = {gang["fingerprint"] for gang in server.get("/admin/inventory")["gangs"] if gang["model"] == model}
    return "the same" if now == {was} else f"another: was {was}, is {', '.join(sorted(now)) or 'none'}"


def _verdict(result: dict[str, Any]) -> str:
    whole = f"{result['tokens']} tokens of {result['choices']} choice{'s' if result['choices'] > 1 else ''}"
    whole += f" that it had when it ended as {result['cut']}" if result["cut"] else ""
    if not result["diverged"]:
        return f"the same, all {whole} (fingerprint: {result['fingerprint']})"
    if result["diverged"][0]["choice"] is None:
        return (
            f"not the same: {whole} came, other ones than before (fingerprint: {result['fingerprint']}); "
            "a captured request would show where"
        )
    places = ", ".join(
        f"choice {one['choice']} from token {one['token']} of {one['was']}" for one in result["diverged"]
    )
    return f"not the same: {places} (fingerprint: {result['fingerprint']})"
