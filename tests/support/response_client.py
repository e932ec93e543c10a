"""A client of raw ASGI, the books that a response closes, and a response that is under way between the two."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from actors.gateway.live_request import LiveRequest
from actors.gateway.responses import EventStream, WholeAnswer

NEVER_S = 3600.0


class Client:
    """An ASGI client: keeps what the gateway sends, and reads on only while ``reads`` is set."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.reads, self._left, self._progress = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.reads.set()
        self.broken: OSError | None = None
        self.blocked = asyncio.Event()  # a send waits for the client
        self._asked = False

    @property
    def status(self) -> int | None:
        return next((message["status"] for message in self.sent if "status" in message), None)

    @property
    def headers(self) -> dict[str, str]:
        start = next(message for message in self.sent if message["type"] == "http.response.start")
        return {name.decode(): value.decode() for name, value in start["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def events(self) -> list[Any]:
        """The data of every event, [DONE] and comments left out."""
        blocks = self.body.decode().split("\n\n")
        lines = [line for block in blocks for line in block.split("\n") if line.startswith("data: ")]
        return [json.loads(line.removeprefix("data: ")) for line in lines if line != "data: [DONE]"]

    @property
    def ended(self) -> bool:
        return bool(self.sent) and not self.sent[-1].get("more_body", True)

    def leave(self) -> None:
        self._left.set()

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if self.broken is not None:
            raise self.broken
        if not self.reads.is_set():
            self.blocked.set()
            await self.reads.wait()
        self.sent.append(message)
        self._progress.set()

    async def has(self, holds: Callable[[], bool]) -> None:
        """Wait until this holds; look again whenever something was sent."""
        async with asyncio.timeout(60):
            while not holds():
                self._progress.clear()
                await self._progress.wait()

    async def has_events(self, count: int) -> None:
        """Wait until so many events have come."""
        await self.has(lambda: len(self.events) == count)


class Books:
    """Notes how a request's books were closed."""

    def __init__(self) -> None:
        self.closed: list[tuple[str, int]] = []  # outcome, unsent tokens

    def close(self, live: LiveRequest, *, unsent: int = 0) -> None:
        assert live.done, "the books of a live request were closed"
        self.closed.append((live.outcome(), unsent))


@asynccontextmanager
async def answering(
    live: LiveRequest, books: Books, keepalive_s: float = NEVER_S
) -> AsyncIterator[tuple[Client, "asyncio.Task[None]"]]:
    """Answer a client on a task of its own; at the end the task must be over, or is waited for."""
    whole = not live.intake.stream
    response = WholeAnswer(live, books.close) if whole else EventStream(live, books.close, keepalive_s)
    client = Client()
    task = asyncio.create_task(response({"type": "http"}, client.receive, client.send))  # type: ignore[arg-type]
    try:
        yield client, task
    finally:
        async with asyncio.timeout(60):
            await asyncio.gather(task, return_exceptions=True)
    assert len(books.closed) == 1, "the books are closed once, whatever happens"
