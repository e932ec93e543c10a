"""A gang loads only once its members are held, shares its cores among its ranks, and ends whole if one rank dies."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import ray

from actors import app
from actors.replica import gang as module
from actors.replica.gang import Gang, start_gang
from calmops.engine.settings import EngineSettings
from calmops.foundation.config_sections import ModelConfig
from calmops.foundation.errors import GangError
from calmops.messages.plan import StepPlan, Stop, ToRank
from calmops.messages.roster import Member

BUNDLE = {"CPU": 2.0, "simulated_gpu": 1.0}
LOAD_S = 7.0
PLAN = StepPlan(step=1, tokens=(5,), positions=(0,), rows_to_sequence=(0,), block_tables=((0,),), wanted_rows=(0,))
decode = msgspec.msgpack.Decoder(ToRank).decode


class Sender:
    """Stands in for rank 0's way to the other ranks."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self.addresses = addresses
        self.sent: list[bytes] = []
        self.closed = False

    def send(self, body: bytes) -> None:
        assert not self.closed
        self.sent.append(body)

    def close(self) -> None:
        self.closed = True


class Cluster:
    """Stands in for Ray, the reaper, the other ranks and the engine: notes what happens, in order."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.cores: tuple[int, ...] = ()  # what the reaper leases
        self.failing: dict[str, Exception] = {}  # by what happens
        self.rank_options: list[dict[str, Any]] = []
        self.loaded: dict[int, EngineSettings] = {}  # by rank
        self.ports: list[int] = []  # where the ranks meet, gang after gang
        self.limits_s: set[float] = set()
        self.send_plan: Callable[[StepPlan], None] | None = None

    def do(self, what: str, result: Any = None) -> "Reference":
        """Note a remote call; its failure shows when its result is asked for."""
        self.happened.append(what)
        return Reference(result, self.failing.get(what))

    def get(self, asked: Any, timeout: float) -> Any:
        self.limits_s.add(timeout)
        return [reference.result() for reference in asked] if isinstance(asked, list) else asked.result()

    def options(self, **options: Any) -> Any:
        self.rank_options.append(options)
        return SimpleNamespace(remote=self.start_rank)

    def start_rank(self, rank: int, _gang_id: str) -> Any:
        def load(settings: EngineSettings, port: int) -> Reference:
            self.loaded[rank] = settings
            self.ports.append(port)
            return self.do("rank loads")

        member = Member(rank=rank, pid=1000 + rank, started_ticks=1)
        return SimpleNamespace(
            member=SimpleNamespace(remote=lambda: self.do("rank starts", member)), load=SimpleNamespace(remote=load)
        )

    def reaper_of(self, node_id: str) -> Any:
        assert node_id == "node"

        def hold(_gang_id: str, members: tuple[Member, ...]) -> Reference:
            return self.do(f"reaper holds {[member.rank for member in members]}")

        def lease(_gang_id: str, count: int) -> Reference:
            return self.do(f"reaper leases {count}", self.cores)

        return SimpleNamespace(hold=SimpleNamespace(remote=hold), lease=SimpleNamespace(remote=lease))

    def join(self, rank: int, tp: int, port: int, _device: str) -> None:
        self.happened.append(f"rank {rank} of {tp} joins")
        self.ports.append(port)

    def load_engine(self, settings: EngineSettings, send: Callable[[StepPlan], None]) -> str:
        self.happened.append("rank 0 loads")
        self.loaded[0] = settings
        self.send_plan = send
        return "engine"


class Reference:
    """Stands in for Ray's reference to a result."""

    def __init__(self, value: Any, error: Exception | None) -> None:
        self._value, self._error = value, error

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    context = SimpleNamespace(get_node_id=lambda: "node")
    fake_ray = SimpleNamespace(get=cluster.get, get_runtime_context=lambda: context, exceptions=ray.exceptions)
    ports = iter(range(20_000, 20_100))
    monkeypatch.setattr(module, "ray", fake_ray)
    monkeypatch.setattr(module, "reaper_of", cluster.reaper_of)
    monkeypatch.setattr(module, "Rank", cluster)
    monkeypatch.setattr(module, "PlanSender", Sender)
    monkeypatch.setattr(module, "free_port", lambda: next(ports))
    monkeypatch.setattr(module, "get_current_placement_group", lambda: "the replica's group")
    monkeypatch.setattr("calmops.engine.tensor_parallel.join", cluster.join)
    monkeypatch.setattr("calmops.engine.engine.Engine", SimpleNamespace(load=cluster.load_engine))
    return cluster


def start(tp: int = 2, threads: int = 1) -> Gang:
    settings = app.engine_settings(ModelConfig(tp=tp, threads_per_rank=threads, device="cpu"))
    return start_gang(settings, load_s=LOAD_S, bundle=BUNDLE)


def test_members_are_held_and_cores_leased_before_anything_loads(cluster: Cluster) -> None:
    gang = start(tp=3)
    assert cluster.happened == [
        "rank starts", "rank starts", "reaper holds [0, 1, 2]", "reaper leases 3",
        "rank loads", "rank loads", "rank 0 of 3 joins", "rank 0 loads",
    ]  # fmt: skip
    assert [member.rank for member in gang.members] == [0, 1, 2]
    assert str(gang.engine) == "engine"
    assert len(gang.ranks) == 2
    assert cluster.limits_s == {LOAD_S}, "nothing is waited for without a limit"


def test_a_gang_of_one_rank_starts_no_other(cluster: Cluster) -> None:
    gang = start(tp=1)
    assert cluster.happened == ["reaper holds [0]", "reaper leases 1", "rank 0 of 1 joins", "rank 0 loads"]
    assert gang.ranks == ()


@pytest.mark.parametrize(
    ("cores", "shares"),
    [
        ((3, 4, 8, 9), {0: (3, 4), 1: (8, 9)}),
        ((), {0: (), 1: ()}),
    ],
    ids=["two cores per rank", "no cores are left"],
)
def test_each_rank_gets_its_own_share_of_the_leased_cores(
    cluster: Cluster, cores: tuple[int, ...], shares: dict[int, tuple[int, ...]]
) -> None:
    cluster.cores = cores
    start(tp=2, threads=2)
    assert "reaper leases 4" in cluster.happened
    assert {rank: settings.cores for rank, settings in cluster.loaded.items()} == shares


def test_the_ranks_of_a_gang_meet_on_one_port_and_the_next_gang_on_another(cluster: Cluster) -> None:
    first, second = start(), start()
    assert cluster.ports == [20_000, 20_000, 20_001, 20_001]
    assert first.gang_id != second.gang_id
    addresses = [gang.sender.addresses for gang in (first, second)]
    assert addresses[0] != addresses[1]


def test_each_other_rank_gets_a_bundle_of_the_replicas_placement_group(cluster: Cluster) -> None:
    start(tp=3)
    assert [(options["num_cpus"], options["num_gpus"]) for options in cluster.rank_options] == [(2.0, 0)] * 2
    assert [options["resources"] for options in cluster.rank_options] == [{"simulated_gpu": 1.0}] * 2
    strategies = [options["scheduling_strategy"] for options in cluster.rank_options]
    assert [strategy.placement_group_bundle_index for strategy in strategies] == [1, 2]
    assert {strategy.placement_group for strategy in strategies} == {"the replica's group"}


@pytest.mark.parametrize("when", ["rank starts", "reaper holds [0, 1]", "rank loads"])
@pytest.mark.parametrize("error", [ray.exceptions.ActorDiedError(), ray.exceptions.GetTimeoutError("7 s")])
def test_a_gang_one_of_whose_ranks_dies_or_hangs_does_not_start(cluster: Cluster, when: str, error: Exception) -> None:
    cluster.failing[when] = error
    with pytest.raises(GangError, match="of 2 ranks did not load within 7 s") as raised:
        start()
    assert raised.value.__cause__ is error


def test_nothing_loads_if_a_rank_is_gone_before_it_is_held(cluster: Cluster) -> None:
    cluster.failing["rank starts"] = ray.exceptions.ActorDiedError()
    with pytest.raises(GangError):
        start()
    assert cluster.loaded == {}


def test_plans_go_to_the_other_ranks_and_a_stop_ends_them(cluster: Cluster) -> None:
    gang = start()
    sender: Any = gang.sender
    assert cluster.send_plan is not None
    cluster.send_plan(PLAN)
    gang.stop()
    assert [decode(body) for body in sender.sent] == [PLAN, Stop(reason="the replica stops")]
    assert sender.closed
