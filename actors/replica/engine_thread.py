"""Steps the engine on rank 0's engine thread, and sends each gateway its frame. The only owner of engine and links.

It runs off the main thread, since an all-reduce releases the GIL but keeps its thread. Other threads only append to
``_commands`` and wake it. It never waits for a gateway.
"""

import logging
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import Struct

from calmops.foundation.errors import CalmopsError
from calmops.foundation.liveness import BEATS_PER_STALL, GATEWAY_GONE_S, GATEWAY_SILENT_S
from calmops.foundation.sockets import FrameLink, LinkWaiter
from calmops.messages.frame import Cancel, Delta, Frame, FromGateway, Hello, StepFacts
from calmops.messages.placement import Placement, Summary
from calmops.messages.roster import GatewayEntry

if TYPE_CHECKING:
    from calmops.engine.engine import Engine, StepResult

_log = logging.getLogger("ray.serve")
GATEWAY_SILENT_NS = int(GATEWAY_SILENT_S * 1e9)
GATEWAY_GONE_NS = int(GATEWAY_GONE_S * 1e9)
SWITCH_S = 0.0005  # how long Python may let this thread wait for the event loop's after a step; 5 ms by default
EARLY_CANCELS = 1000  # cancels that are remembered, each until its placement comes
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(FromGateway).decode


class FrameHeader(Struct, frozen=True, kw_only=True):
    """Holds what is the same in every frame of a gang."""

    replica_id: str
    gang_id: str
    model: str
    fingerprint: str


class _Attempt(NamedTuple):
    future: Future[Summary]
    gateway_id: str  # the gateway that placed it
    tokens: int  # the most that it may take


class _Link:
    def __init__(self, link: FrameLink, now_ns: int) -> None:
        self.link = link
        self.link_seq = 0
        self.heard_ns = now_ns
        self.cancelled_ns = 0  # when its sequences were last cancelled because it was silent
        self.sent_ns = now_ns


class EngineThread(threading.Thread):
    """Steps while there is work, sleeps in the kernel while there is none."""

    def __init__(self, engine: "Engine", header: FrameHeader, stall_s: float, on_fatal: Callable[[str], None]) -> None:
        """``on_fatal`` is called on this thread, with the reason, when the engine can't go on."""
        super().__init__(name="engine", daemon=True)
        self._engine = engine
        self._header = header
        self._beat_ns = int(stall_s * 1e9 / BEATS_PER_STALL)
        self._on_fatal = on_fatal
        self._waiter = LinkWaiter()
        self._commands: deque[Callable[[], None]] = deque()
        self._links: dict[str, _Link] = {}
        self._attempts: dict[int, _Attempt] = {}  # by stream token
        self._tokens_in_flight = 0
        self._early: OrderedDict[int, None] = OrderedDict()  # stream tokens cancelled before their placements came
        self._stopping = False
        self._step = 0
        self.shard = -1

    def submit(self, placement: Placement) -> Future[Summary]:
        """Begin a request, or go on with it; the future ends with the attempt. Any thread may call it."""
        future: Future[Summary] = Future()
        future.set_running_or_notify_cancel()  # a caller that goes away can't cancel it: the result still has a place
        self._call(lambda: self._submit(placement, future))
        return future

    def cancel(self, stream_token: int, reason: str) -> None:
        """Free an attempt's sequences by the next step."""
        self._call(lambda: self._engine.cancel(stream_token, reason))

    def connect(self, gateways: tuple[GatewayEntry, ...]) -> None:
        """Link to gateways that aren't linked yet, and drop links to those that are no longer listed."""
        self._call(lambda: self._connect(gateways))

    def is_linked(self, gateway_id: str) -> bool:
        """Return whether frames can go to that gateway."""
        return gateway_id in self._links

    def stop(self) -> None:
        """End the loop after the current step."""
        self._call(self._end)

    def run(self) -> None:
        sys.setswitchinterval(SWITCH_S)
        try:
            while not self._stopping:
                self._turn()
        except Exception as error:
            _log.exception("the engine of gang %s ended", self._header.gang_id)  # before the reaper comes
            self._goodbye()
            self._on_fatal(f"{type(error).__name__}: {error}")
            raise

    def _call(self, command: Callable[[], None]) -> None:
        self._commands.append(command)
        self._waiter.wake()

    def _turn(self) -> None:
        while self._commands:
            self._commands.popleft()()
        self._listen()
        result = self._engine.step()
        if result is not None:
            self._send_step(result)
            self._settle(result.summaries)
        self._beat()
        if result is None and not self._commands:
            self._waiter.wait(max(1, self._beat_ns // 1_000_000))

    def _submit(self, placement: Placement, future: Future[Summary]) -> None:
        if placement.gateway_id not in self._links:
            future.set_exception(CalmopsError(f"no link to gateway {placement.gateway_id}"))
            return
        if placement.stream_token in self._early:
            del self._early[placement.stream_token]
            future.set_exception(CalmopsError("the gateway cancelled this attempt before it came"))
            return
        try:
            self._engine.submit(placement)
        except CalmopsError as error:
            future.set_exception(error)
            return
        attempt = _Attempt(future, placement.gateway_id, placement.tokens)
        self._attempts[placement.stream_token] = attempt
        self._tokens_in_flight += placement.tokens

    def _connect(self, gateways: tuple[GatewayEntry, ...]) -> None:
        wanted = {entry.gateway_id: entry for entry in gateways}
        oldest_ns = time.monotonic_ns() - GATEWAY_GONE_NS
        unlisted = [gateway_id for gateway_id in self._links if gateway_id not in wanted]
        for gateway_id in unlisted:
            if self._links[gateway_id].heard_ns < oldest_ns:
                self._drop(gateway_id)
        for gateway_id, entry in wanted.items():
            if gateway_id not in self._links:
                link = FrameLink(entry.channel)
                self._waiter.add(link)
                self._links[gateway_id] = _Link(link, time.monotonic_ns())
                header = self._header
                hello = Hello(replica_id=header.replica_id, gang_id=header.gang_id, model=header.model)
                link.send(_encode(hello))

    def _drop(self, gateway_id: str) -> None:
        dropped = self._links.pop(gateway_id)
        self._waiter.discard(dropped.link)
        dropped.link.close()
        self._cancel_all(gateway_id, "gateway_slow")

    def _cancel_all(self, gateway_id: str, reason: str) -> None:
        for stream_token, attempt in list(self._attempts.items()):
            if attempt.gateway_id == gateway_id:
                self._engine.cancel(stream_token, reason)

    def _listen(self) -> None:
        now_ns = time.monotonic_ns()
        for gateway_id, link in self._links.items():
            for body in link.link.receive():
                link.heard_ns = now_ns
                message = _decode(body)
                if isinstance(message, Cancel):
                    self._cancel(message)
            if now_ns - max(link.heard_ns, link.cancelled_ns) > GATEWAY_SILENT_NS:
                link.cancelled_ns = now_ns
                self._cancel_all(gateway_id, "cancelled")

    def _cancel(self, cancel: Cancel) -> None:
        if cancel.stream_token not in self._attempts:
            self._early[cancel.stream_token] = None
            while len(self._early) > EARLY_CANCELS:
                self._early.popitem(last=False)
        self._engine.cancel(cancel.stream_token, cancel.reason)

    def _send_step(self, result: "StepResult") -> None:
        self._step = result.step
        ended = [self._attempts.get(summary.stream_token) for summary in result.summaries]
        owners = {attempt.gateway_id for attempt in ended if attempt is not None}
        # A gateway that got no delta, but one of whose attempts ended, hears of the step too.
        for gateway_id in owners.union(result.deltas):
            if gateway_id in self._links:
                self._send(gateway_id, result.facts, result.deltas.get(gateway_id, ()))

    def _settle(self, summaries: tuple[Summary, ...]) -> None:
        for summary in summaries:
            attempt = self._attempts.pop(summary.stream_token, None)
            if attempt is not None:
                self._tokens_in_flight -= attempt.tokens
                attempt.future.set_result(summary)

    def _beat(self) -> None:
        due_ns = time.monotonic_ns() - self._beat_ns
        for gateway_id, link in self._links.items():
            if link.sent_ns <= due_ns:
                self._send(gateway_id, None, ())

    def _send(self, gateway_id: str, facts: StepFacts | None, deltas: tuple[Delta, ...], last: bool = False) -> None:
        link = self._links[gateway_id]
        link.link_seq += 1
        link.sent_ns = time.monotonic_ns()
        header = self._header
        frame = Frame(
            replica_id=header.replica_id, gang_id=header.gang_id, shard=self.shard, model=header.model,
            fingerprint=header.fingerprint, step=self._step, link_seq=link.link_seq, engine_ns=time.time_ns(),
            tokens_in_flight=self._tokens_in_flight, facts=facts, deltas=deltas, last=last,
        )  # fmt: skip
        if not link.link.send(_encode(frame)):
            self._cancel_all(gateway_id, "gateway_slow")  # the gateway sees the gap in link_seq

    def _goodbye(self) -> None:
        for gateway_id in self._links:
            self._send(gateway_id, None, (), last=True)

    def _end(self) -> None:
        self._goodbye()
        self._stopping = True
