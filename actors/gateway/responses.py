"""Sends a client its answer: a stream of events, or one whole body. Raw ASGI: a token costs no task and no lock.

A released token counts as delivered when its event has been handed to the HTTP server. Tokens that are still in the
outbox when the client leaves are counted as ``unsent``.
"""

import asyncio
import time
from typing import Protocol

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from actors.gateway.error_response import error_response
from actors.gateway.live_request import LiveRequest
from calmops.foundation.errors import CalmopsError, DeadlineError
from calmops.intake.answers import KEEPALIVE, Answer, StreamAnswer, error_event
from calmops.tracing.context import baggage_header


class Close(Protocol):
    """Closes a request's books."""

    def __call__(self, live: LiveRequest, *, unsent: int = 0) -> None:
        """``unsent`` counts released tokens that were never handed to the HTTP server."""
        ...


class EventStream(Response):
    """Sends server-sent events, the first as soon as the first token is there."""

    media_type = "text/event-stream"

    def __init__(self, live: LiveRequest, close: Close, keepalive_s: float) -> None:
        """After ``keepalive_s`` without an event a comment is sent."""
        super().__init__(headers={**_headers(live), "cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._live, self._close, self._keepalive_s = live, close, keepalive_s
        self._answer = StreamAnswer(live.intake, created=int(time.time()))
        self._started = False

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        live = self._live
        live.response_task = asyncio.ensure_future(self._run(send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait((live.response_task, gone), return_when=asyncio.FIRST_COMPLETED)
            if not live.response_task.done():
                live.end(outcome="client_cancelled")
                live.response_task.cancel()
            await asyncio.gather(live.response_task, return_exceptions=True)
            if not live.response_task.cancelled() and live.response_task.exception() is not None:
                live.end(CalmopsError(f"the gateway failed: {type(live.response_task.exception()).__name__}"))
        finally:
            gone.cancel()
            live.response_task.cancel()
            if not live.done:
                live.end(outcome="client_cancelled")
            self._close(live, unsent=sum(taken.released for taken in live.outbox))
        error = None if live.response_task.cancelled() else live.response_task.exception()
        if error is not None:
            raise error

    async def _run(self, send: Send) -> None:
        live = self._live
        while True:
            while live.outbox:
                await self._write(send, self._answer.event(live.outbox[0]))
                live.outbox.popleft()
            if live.done:
                break
            live.wake.clear()
            try:
                async with asyncio.timeout(self._keepalive_s):
                    await live.wake.wait()
            except TimeoutError:
                await self._write(send, KEEPALIVE)
        await self._finish(send)

    async def _finish(self, send: Send) -> None:
        error = self._live.error
        if error is None:
            await self._write(send, self._answer.end(self._live.journal.prompt_tokens, self._live.journal.journaled))
        elif self._started or isinstance(error, DeadlineError):
            await self._write(send, error_event(error))
        else:
            await _send_error(send, error, _headers(self._live))
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, send: Send, body: bytes) -> None:
        live = self._live
        live.sending_since_ns = time.monotonic_ns()
        if not self._started:
            self._started = True
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        live.sending_since_ns = None


class WholeAnswer(Response):
    """Sends one JSON body when every choice has ended."""

    def __init__(self, live: LiveRequest, close: Close) -> None:
        super().__init__()
        self._live, self._close = live, close

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        live = self._live
        gone = asyncio.ensure_future(_disconnected(receive))
        unsent = 0
        try:
            answer = Answer(live.intake, created=int(time.time()))
            complete = await self._collect(answer, gone)
            unsent = live.journal.released
            if complete and live.error is None:
                body = answer.body(live.journal.prompt_tokens, live.journal.journaled)
                live.sending_since_ns = time.monotonic_ns()
                await _send_json(send, 200, body, _headers(live))
                unsent = 0
            elif complete and live.error is not None:
                await _send_error(send, live.error, _headers(live))
        finally:
            gone.cancel()
            if not live.done:
                live.end(outcome="client_cancelled")
            self._close(live, unsent=unsent)

    async def _collect(self, answer: Answer, gone: "asyncio.Future[None]") -> bool:
        """Return True when the request has ended, False if the client left first."""
        live = self._live
        gone.add_done_callback(lambda _: live.wake.set())
        while True:
            while live.outbox:
                answer.add(live.outbox.popleft())
            if live.done:
                return True
            if gone.done():
                live.end(outcome="client_cancelled")
                return False
            live.wake.clear()
            await live.wake.wait()


async def _disconnected(receive: Receive) -> None:
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return


async def _send_error(send: Send, error: CalmopsError, headers: dict[str, str]) -> None:
    response = error_response(error)
    response.headers.update(headers)
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": False})


async def _send_json(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    head = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    raw = [(name.encode(), value.encode()) for name, value in head.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _headers(live: LiveRequest) -> dict[str, str]:
    request = live.intake.request
    baggage = {"baggage": baggage_header(request.baggage)} if request.baggage else {}
    state = {"tracestate": request.tracestate} if request.tracestate else {}
    return {"x-calmops-seed": str(request.params.seed), "traceparent": live.trace.header, **state, **baggage}
