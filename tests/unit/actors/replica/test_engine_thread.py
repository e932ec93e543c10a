"""The engine thread sends frames to a gateway over real sockets; its engine follows a script."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from actors.replica import engine_thread
from actors.replica.engine_thread import GATEWAY_SILENT_NS, EngineThread, FrameHeader
from calmops.engine.engine import StepResult
from calmops.foundation.errors import CalmopsError, LoadError
from calmops.foundation.sockets import FrameServer
from calmops.messages.frame import Cancel, Delta, Frame, FromReplica, GatewayAlive, Hello, StepFacts
from calmops.messages.placement import Placement, Summary
from calmops.messages.request import SamplingParams
from calmops.messages.roster import GatewayEntry

STALL_S = 0.1  # a heartbeat each 20 ms
ME = FrameHeader(replica_id="replica", gang_id="gang", model="m", fingerprint="f")
decode = msgspec.msgpack.Decoder(FromReplica).decode
encode = msgspec.msgpack.encode


def placement(name: str, tokens: int = 3, stream_token: int = 1) -> Placement:
    return Placement(
        request_id=name, model="m", attempt=1, gateway_id="gw", stream_token=stream_token, prompt_ids=(1, 2),
        params=SamplingParams(max_tokens=tokens), deadline_ns=0,
    )  # fmt: skip


class ScriptedEngine:
    """Makes one token per step for every placement, and ends each at its max_tokens or when it is cancelled."""

    def __init__(self) -> None:
        self.cancelled: list[tuple[str, str]] = []
        self._said: dict[int, int] = {}
        self._placements: dict[int, Placement] = {}
        self._over: list[Summary] = []
        self._step = 0

    def submit(self, placement: Placement) -> None:
        if placement.request_id == "too much":
            raise LoadError("too many wait")
        self._placements[placement.stream_token] = placement
        self._said[placement.stream_token] = 0

    def cancel(self, stream_token: int, reason: str) -> None:
        cancelled = self._placements.pop(stream_token, None)
        if cancelled is not None:
            self.cancelled.append((cancelled.request_id, reason))
            self._over.append(summary(cancelled, reason))

    def step(self) -> StepResult | None:
        if not self._placements and not self._over:
            return None
        self._step += 1
        time.sleep(0.001)  # a step takes time; without it frames outrun the link's bound
        deltas = tuple(self._delta(placement) for placement in list(self._placements.values()))
        over, self._over = tuple(self._over), []
        facts = StepFacts(
            started_ns=0, duration_ns=1, rows=1, decode_rows=1, prefill_rows=0, running=len(self._placements),
            waiting=0, kv_blocks_used=0, kv_blocks_total=8, preempted=0,
        )  # fmt: skip
        return StepResult(step=self._step, facts=facts, deltas={"gw": deltas} if deltas else {}, summaries=over)

    def _delta(self, placement: Placement) -> Delta:
        index = self._said[placement.stream_token]
        self._said[placement.stream_token] += 1
        last = index + 1 == placement.params.max_tokens
        if last:
            del self._placements[placement.stream_token]
            self._over.append(summary(placement))
        return Delta(
            request_id=placement.request_id, stream_token=placement.stream_token, attempt=1, choice=0, index=index,
            token_ids=(7,), text="x", released=index + 1, finish_reason="length" if last else None,
        )  # fmt: skip


def summary(placement: Placement, error: str | None = None) -> Summary:
    return Summary(stream_token=placement.stream_token, error=error)


class Gateway:
    """Keeps what a gateway's end has heard, and can send to the replica."""

    def __init__(self, host: str | None) -> None:
        self.heard: list[Frame | Hello] = []
        self._link = b""
        self.server = FrameServer(self._on_message, host=host)

    @property
    def frames(self) -> list[Frame]:
        return [message for message in self.heard if isinstance(message, Frame)]

    def say(self, message: Cancel | GatewayAlive) -> None:
        assert self.server.send(self._link, encode(message))

    def _on_message(self, link: bytes, body: bytes) -> None:
        self._link = link
        self.heard.append(decode(body))


def linked(test: Callable[[EngineThread, ScriptedEngine, Gateway], Awaitable[None]], host: str | None = None) -> None:
    """Run a test with an engine thread that is linked to a gateway."""

    async def run() -> None:
        engine, gateway = ScriptedEngine(), Gateway(host)
        gateway.server.start()
        thread = EngineThread(engine, ME, STALL_S, lambda _: None)  # type: ignore[arg-type]  # a script
        thread.start()
        thread.connect((GatewayEntry(gateway_id="gw", channel=gateway.server.channel, node_id="n"),))
        try:
            await until(lambda: len(gateway.frames) > 0)
            await test(thread, engine, gateway)
        finally:
            thread.stop()
            await asyncio.to_thread(thread.join, 60)
            gateway.server.close()

    asyncio.run(run())


async def until(holds: Callable[[], bool], within_s: float = 60.0) -> None:
    """Wait for it, as long as a busy machine may take."""
    for _ in range(int(within_s / 0.005)):
        if holds():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"not so after {within_s} s")


@pytest.mark.parametrize("host", [None, "127.0.0.1"], ids=["one node", "encrypted, between nodes"])
def test_frames_come_in_order_without_a_gap_between_heartbeats(host: str | None) -> None:
    async def test(thread: EngineThread, _engine: ScriptedEngine, gateway: Gateway) -> None:
        future = thread.submit(placement("r", tokens=5))
        assert (await asyncio.wrap_future(future)).error is None
        await until(lambda: gateway.frames[-1].tokens_in_flight == 0 and gateway.frames[-1].facts is None)
        assert isinstance(gateway.heard[0], Hello)
        assert [frame.link_seq for frame in gateway.frames] == list(range(1, len(gateway.frames) + 1))
        indexes = [delta.index for frame in gateway.frames for delta in frame.deltas]
        assert indexes == [0, 1, 2, 3, 4]
        assert {frame.tokens_in_flight for frame in gateway.frames if frame.deltas} == {placement("r", tokens=5).tokens}

    linked(test, host)


def test_a_cancel_that_overtakes_its_placement_still_counts() -> None:
    async def test(thread: EngineThread, engine: ScriptedEngine, gateway: Gateway) -> None:
        gateway.say(Cancel(stream_token=99, reason="fenced"))
        gateway.say(Cancel(stream_token=98, reason="fenced"))
        await until(lambda: {98, 99} <= thread._early.keys())
        with pytest.raises(CalmopsError, match="before it came"):
            await asyncio.wrap_future(thread.submit(placement("r", stream_token=99)))
        assert (await asyncio.wrap_future(thread.submit(placement("r", stream_token=100)))).error is None
        assert engine.cancelled == []

    linked(test)


def test_a_cancelled_attempt_ends_with_its_reason_and_frees_its_tokens() -> None:
    async def test(thread: EngineThread, engine: ScriptedEngine, gateway: Gateway) -> None:
        future = thread.submit(placement("r", tokens=10**9))
        await until(lambda: any(frame.deltas for frame in gateway.frames))
        gateway.say(Cancel(stream_token=1, reason="client_cancelled"))
        assert (await asyncio.wrap_future(future)).error == "client_cancelled"
        await until(lambda: gateway.frames[-1].tokens_in_flight == 0)
        assert engine.cancelled == [("r", "client_cancelled")]

    linked(test)


class StillClock:
    """The engine thread's clock, which moves only when a test says so."""

    def __init__(self) -> None:
        self.now_ns = time.monotonic_ns()

    def monotonic_ns(self) -> int:
        return self.now_ns

    def time_ns(self) -> int:
        return time.time_ns()


def test_a_silent_gateway_loses_its_sequences_and_one_that_speaks_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(thread: EngineThread, engine: ScriptedEngine, gateway: Gateway) -> None:
        clock = StillClock()
        monkeypatch.setattr(engine_thread, "time", clock)
        future = thread.submit(placement("r", tokens=10**9))
        for _ in range(5):
            clock.now_ns += GATEWAY_SILENT_NS * 3 // 4
            gateway.say(GatewayAlive(gateway_id="gw"))
            await until(lambda: thread._links["gw"].heard_ns == clock.now_ns)
        assert engine.cancelled == []
        clock.now_ns += GATEWAY_SILENT_NS + 1
        assert (await asyncio.wait_for(asyncio.wrap_future(future), 60)).error == "cancelled"

    linked(test)


def test_a_placement_that_is_refused_or_has_no_link_fails_at_once_and_counts_nothing() -> None:
    async def test(thread: EngineThread, _engine: ScriptedEngine, gateway: Gateway) -> None:
        with pytest.raises(LoadError):
            await asyncio.wrap_future(thread.submit(placement("too much")))
        stranger = msgspec.structs.replace(placement("r"), gateway_id="unknown")
        with pytest.raises(CalmopsError, match="no link to gateway unknown"):
            await asyncio.wrap_future(thread.submit(stranger))
        assert gateway.frames[-1].tokens_in_flight == 0

    linked(test)


def test_a_gang_that_stops_says_so_in_its_last_frame() -> None:
    last: list[Frame] = []

    async def test(thread: EngineThread, _engine: ScriptedEngine, gateway: Gateway) -> None:
        thread.stop()
        await until(lambda: gateway.frames[-1].last)
        last.append(gateway.frames[-1])

    linked(test)
    assert last[0].deltas == ()
