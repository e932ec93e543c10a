"""`calmops chat` holds a conversation with a model of the running platform and shows each answer's latency."""

import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import typer

from calmops.cli.client import (
    STREAM_SILENCE_S,
    TIMEOUT_S,
    TOKEN_FILE,
    URL,
    Connect,
    Server,
    Target,
    refusal,
    unreachable,
)
from calmops.cli.output import AS_JSON, print_json
from calmops.cli.sse_pieces import Piece, piece
from calmops.foundation.errors import CalmopsError
from calmops.foundation.quantiles import percentiles

MODEL = typer.Option(None, "--model", "-m", help="Model to talk to. Default: the first that the platform serves.")
MESSAGE = typer.Option(None, "--message", help="Send this one message and exit, instead of holding a conversation.")
SYSTEM = typer.Option(None, "--system", help="System message that begins the conversation.")
MAX_TOKENS = typer.Option(256, "--max-tokens", min=1, help="Longest answer, in tokens.")
TEMPERATURE = typer.Option(0.8, "--temperature", min=0.0, max=2.0, help="Sampling temperature; 0: the likeliest token.")
SEED = typer.Option(None, "--seed", help="The same seed gives the same answer.")
KEPT_MESSAGES = 40  # of the conversation, sent with each request; older ones are left out


def register(app: typer.Typer, connect: Connect) -> None:
    """Add the command."""

    @app.command()
    def chat(
        message: str | None = MESSAGE,
        model: str | None = MODEL,
        system: str | None = SYSTEM,
        max_tokens: int = MAX_TOKENS,
        temperature: float = TEMPERATURE,
        seed: int | None = SEED,
        url: str | None = URL,
        token_file: Path | None = TOKEN_FILE,
        as_json: bool = AS_JSON,
    ) -> None:
        """Talk to a model.

        Shows each answer's time to first token, tokens per second and inter-token latency. Reads one message per line
        from standard input; an empty line or Ctrl-D ends the conversation.
        """
        server = connect(Target(url, token_file))
        body: dict[str, Any] = {
            "model": model or server.default_model(),
            "max_tokens": max_tokens,
            "temperature": temperature,
        }
        body |= {"stream": True, "stream_options": {"include_usage": True}, "truncate": "sliding"}
        body |= {} if seed is None else {"seed": seed}
        first: list[dict[str, str]] = [{"role": "system", "content": system}] if system else []
        if message is not None:
            answer = ask(server, body | {"messages": [*first, {"role": "user", "content": message}]}, echo=not as_json)
            print_json(answer) if as_json else typer.echo(closing(answer), err=True)
            return
        _converse(server, body, first, as_json)


def ask(server: Server, body: dict[str, Any], *, echo: bool) -> dict[str, Any]:
    """Stream one answer; return its text, finish reason, tokens and latency. ``echo``: write the text as it comes."""
    began_ns = time.monotonic_ns()
    arrivals_ns: list[int] = []
    texts: list[str] = []
    finish_reason, tokens = None, None
    for event in _pieces(server, body):
        if event.text:
            arrivals_ns.append(time.monotonic_ns())
            texts.append(event.text)
            if echo:
                sys.stdout.write(event.text)
                sys.stdout.flush()
        finish_reason = event.finish_reason or finish_reason
        tokens = event.completion_tokens if event.completion_tokens is not None else tokens
    if echo:
        typer.echo()
    elapsed_s = (time.monotonic_ns() - began_ns) / 1e9
    gaps = percentiles([later - earlier for earlier, later in itertools.pairwise(arrivals_ns)])
    return {
        "model": body["model"], "text": "".join(texts), "finish_reason": finish_reason, "tokens": tokens,
        "ttft_ms": (arrivals_ns[0] - began_ns) / 1e6 if arrivals_ns else None,
        "tokens_per_s": tokens / elapsed_s if tokens else None,
        "itl_p50_ms": gaps.p50_ms, "itl_p99_ms": gaps.p99_ms,
    }  # fmt: skip


def closing(answer: dict[str, Any]) -> str:
    """Return the line that follows an answer."""

    def figure(key: str, unit: str) -> str:
        return "-" if answer[key] is None else f"{answer[key]:.1f} {unit}"

    gaps = f"gap p50 {figure('itl_p50_ms', 'ms')}, p99 {figure('itl_p99_ms', 'ms')}"
    return (
        f"[{answer['tokens'] or 0} tokens, {answer['finish_reason']} · first after {figure('ttft_ms', 'ms')}"
        f" · {figure('tokens_per_s', 'tok/s')} · {gaps}]"
    )


def _pieces(server: Server, body: dict[str, Any]) -> Iterator[Piece]:
    """Yield the pieces of one stream. Raises CalmopsError for a refusal, an error event or a stream cut short."""
    timeout = httpx.Timeout(TIMEOUT_S, read=STREAM_SILENCE_S)
    try:
        with server.http.stream("POST", "/v1/chat/completions", json=body, timeout=timeout) as response:
            if response.is_error:
                raise refusal(response.status_code, response.read().decode(errors="replace"))
            for line in response.iter_lines():
                event = piece(line)
                if event is None:
                    continue
                if event.error is not None:
                    raise CalmopsError(f"the stream ended with an error: {event.error}")
                if event.done:
                    return
                yield event
    except httpx.TransportError as error:
        raise unreachable(server.url, error) from error
    raise CalmopsError("the stream ended without [DONE]; its gateway may have died")


def _converse(server: Server, body: dict[str, Any], first: list[dict[str, str]], as_json: bool) -> None:
    messages: list[dict[str, str]] = []
    prompt = "> " if sys.stdin.isatty() else ""
    if prompt:
        typer.echo(f"{body['model']} at {server.url}; an empty line or Ctrl-D ends", err=True)
    while True:
        try:
            line = input(prompt).strip()
        except EOFError:
            return
        if not line:
            return
        messages = [*messages, {"role": "user", "content": line}][-KEPT_MESSAGES:]
        try:
            answer = ask(server, body | {"messages": first + messages}, echo=not as_json)
        except CalmopsError as error:
            if not prompt:
                raise
            messages.pop()
            typer.echo(f"calmops: {error}", err=True)
            continue
        messages.append({"role": "assistant", "content": answer["text"]})
        print_json(answer) if as_json else typer.echo(closing(answer), err=True)
