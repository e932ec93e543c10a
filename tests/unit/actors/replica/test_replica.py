"""A replica reports its gang, carries placements to the engine thread, and is unhealthy once its engine has ended."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from actors import app
from actors.replica import replica as module
from actors.replica.engine_thread import FrameHeader
from actors.replica.replica import Replica
from calmops.foundation.config_sections import ModelConfig
from calmops.foundation.errors import CalmopsError, GangError, LoadError
from calmops.foundation.sockets import Channel
from calmops.messages.placement import Placement, Summary
from calmops.messages.request import SamplingParams
from calmops.messages.roster import GangEntry, GatewayEntry, Member, NodeFacts, Roster

MEMBERS = (Member(rank=0, pid=7, started_ticks=1), Member(rank=1, pid=8, started_ticks=1))
PLACEMENT = Placement(
    request_id="r", model="m", attempt=1, gateway_id="gw", stream_token=42, prompt_ids=(1,),
    params=SamplingParams(max_tokens=1), deadline_ns=0,
)  # fmt: skip


class Engine:
    """Stands in for the engine thread: notes what it is asked; ``future`` ends the attempt."""

    def __init__(self, engine: str, header: FrameHeader, stall_s: float, on_fatal: Callable[[str], None]) -> None:
        self.made_of = engine, header, stall_s
        self.on_fatal = on_fatal
        self.shard = -1
        self.gateways: set[str] = set()
        self.asked: list[Any] = []
        self.future: Future[Summary] = Future()
        self.future.set_running_or_notify_cancel()  # as the engine thread does: no caller can cancel it
        self.submitted = asyncio.Event()

    def start(self) -> None:
        self.asked.append(f"start as shard {self.shard}")

    def connect(self, gateways: tuple[GatewayEntry, ...]) -> None:
        self.gateways = {entry.gateway_id for entry in gateways}
        self.asked.append(f"connect to {sorted(self.gateways)}")

    def is_linked(self, gateway_id: str) -> bool:
        return gateway_id in self.gateways

    def submit(self, placement: Placement) -> Future[Summary]:
        self.asked.append(f"submit {placement.stream_token}")
        self.submitted.set()
        return self.future

    def cancel(self, stream_token: int, reason: str) -> None:
        self.asked.append(f"cancel {stream_token}: {reason}")

    def stop(self) -> None:
        self.asked.append("stop")

    def join(self, timeout: float) -> None:
        assert timeout > 0, "a replica that leaves waits for ever"


class Registry:
    """Stands in for the registry, whose calls are over as soon as they are asked for."""

    def __init__(self) -> None:
        self.entries: list[GangEntry] = []
        self.asked: list[tuple[str, ...]] = []
        self.gateways: tuple[str, ...] = ("gw",)
        self.errors: list[Exception] = []

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self, f"_{name}"))

    def _gang_here(self, entry: GangEntry) -> tuple[int, Roster]:
        if self.errors:
            raise self.errors.pop(0)
        self.entries.append(entry)
        gateways = tuple(
            GatewayEntry(gateway_id=name, channel=Channel(address=f"ipc://@{name}"), node_id="n")
            for name in self.gateways
        )
        return 3, Roster(gateways=gateways)

    def _gang_lost(self, gang_id: str, why: str) -> None:
        self.asked.append(("lost", gang_id, why))

    def _gang_leaves(self, gang_id: str) -> None:
        self.asked.append(("leaves", gang_id))


class Process:
    """Stands in for the process around the replica: threads and timers that are made, and never run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.registry = Registry()
        self.looked_up = 0
        self.timers: list[tuple[Any, ...]] = []
        self.gang_stopped = False
        gang = SimpleNamespace(
            gang_id="g1", members=MEMBERS, engine=SimpleNamespace(fingerprint="f7"), stop=self._stop_gang
        )
        context = SimpleNamespace(replica_id=SimpleNamespace(unique_id="replica-1"))
        fakes = {
            "start_gang": lambda _settings, **_limits: gang,
            "EngineThread": Engine,
            "NodeReader": lambda: SimpleNamespace(facts=NodeFacts(oom_kills=2)),
            "registry": self._look_up,
            "serve": SimpleNamespace(get_replica_context=lambda: context),
            "ray": SimpleNamespace(
                get=lambda result, timeout: result,  # noqa: ARG005
                get_runtime_context=lambda: SimpleNamespace(get_node_id=lambda: "node-1"),
                exceptions=ray.exceptions,
            ),
            "threading": SimpleNamespace(Thread=self._thread, Timer=self._timer, Event=threading.Event),
            "time": SimpleNamespace(sleep=lambda _s: None),
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(module, name, fake)

    def replica(self) -> Replica:
        settings = app.engine_settings(ModelConfig(device="cpu"))
        return Replica("m", settings, {"stall_s": 0.5, "load_s": 9.0}, {"CPU": 1.0})

    def _look_up(self) -> Registry:
        self.looked_up += 1
        return self.registry

    def _thread(self, **_named: Any) -> Any:
        return SimpleNamespace(start=lambda: None)

    def _timer(self, *given: Any) -> Any:
        return SimpleNamespace(start=lambda: self.timers.append(given))

    def _stop_gang(self) -> None:
        self.gang_stopped = True


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    return Process(monkeypatch)


@pytest.fixture
def replica(process: Process) -> Iterator[Replica]:
    replica = process.replica()
    yield replica
    if hasattr(replica, "_engine"):
        replica.__del__()
        del replica._engine  # so that nothing is left to do when it is collected, without its fakes


def engine_of(replica: Replica) -> Engine:
    return replica._engine  # type: ignore[return-value]


def test_a_replica_reports_its_gang_and_links_to_every_gateway_before_its_engine_starts(
    process: Process, replica: Replica
) -> None:
    (entry,) = process.registry.entries
    assert (entry.model, entry.replica_id, entry.gang_id, entry.node_id) == ("m", "replica-1", "g1", "node-1")
    assert (entry.members, entry.fingerprint, entry.node.oom_kills) == (MEMBERS, "f7", 2)
    engine = engine_of(replica)
    assert engine.asked == ["connect to ['gw']", "start as shard 3"]
    header = FrameHeader(replica_id="replica-1", gang_id="g1", model="m", fingerprint="f7")
    assert engine.made_of[1:] == (header, 0.5)


async def test_a_placement_of_a_linked_gateway_is_carried_out_without_another_report(
    process: Process, replica: Replica
) -> None:
    engine, summary = engine_of(replica), object()
    engine.future.set_result(summary)  # type: ignore[arg-type]  # whatever it is, it comes back
    assert await replica.generate(PLACEMENT) is summary
    assert engine.asked[2:] == ["submit 42"]
    assert len(process.registry.entries) == 1


async def test_a_gateway_that_is_not_linked_yet_makes_the_replica_report_first(
    process: Process, replica: Replica
) -> None:
    engine = engine_of(replica)
    engine.gateways.clear()
    process.registry.gateways = ("gw", "gw-new")
    engine.future.set_result(object())  # type: ignore[arg-type]
    await replica.generate(PLACEMENT)
    assert engine.asked[2:] == ["connect to ['gw', 'gw-new']", "submit 42"]
    assert len(process.registry.entries) == 2


@pytest.mark.parametrize("error", [LoadError("256 wait"), CalmopsError("no link to gateway gw")])
async def test_an_attempt_that_the_engine_refuses_fails_with_its_error(replica: Replica, error: CalmopsError) -> None:
    engine_of(replica).future.set_exception(error)
    with pytest.raises(type(error), match=str(error)):
        await replica.generate(PLACEMENT)


async def test_a_call_that_serve_cancels_frees_its_sequences(replica: Replica) -> None:
    engine = engine_of(replica)
    call = asyncio.create_task(replica.generate(PLACEMENT))
    await asyncio.wait_for(engine.submitted.wait(), 60)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert engine.asked[-1] == "cancel 42: cancelled"


def test_a_replica_is_healthy_until_its_engine_ends(process: Process, replica: Replica) -> None:
    replica.check_health()
    engine_of(replica).on_fatal("ValueError: broken")
    with pytest.raises(GangError, match="gang g1 ended: ValueError: broken"):
        replica.check_health()
    assert process.registry.asked == [("lost", "g1", "ValueError: broken")], "so that its reaper ends the whole gang"
    ((_, end, arguments),) = process.timers
    assert (end.__name__, arguments) == ("_exit", (1,)), "if the reaper can't end it, it ends itself"


def test_a_registry_that_is_away_is_looked_up_again_and_reported_to(process: Process, replica: Replica) -> None:
    process.registry.errors = [ray.exceptions.ActorDiedError(), ray.exceptions.GetTimeoutError("10 s")]
    turns = iter((False, False, False, True))
    replica._leaving = SimpleNamespace(wait=lambda _s: next(turns), set=lambda: None)  # type: ignore[assignment]
    replica._report_often()
    assert process.looked_up == 1 + 2
    assert len(process.registry.entries) == 1 + 1


def test_a_replica_that_leaves_says_so_before_its_engine_and_gang_stop(process: Process, replica: Replica) -> None:
    replica.__del__()
    assert process.registry.asked == [("leaves", "g1")], "so that the end of its processes is nobody's loss"
    assert engine_of(replica).asked[-1] == "stop"
    assert process.gang_stopped
    del replica._engine
