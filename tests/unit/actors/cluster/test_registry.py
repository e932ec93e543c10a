"""The registry keeps who is there under leases, deals shards, and has a lost gang ended once."""

from types import SimpleNamespace
from typing import Any

import pytest

from actors.cluster import registry as module
from actors.cluster.registry import ENDED_REMEMBERED, Registry
from calmops.foundation.liveness import LEASE_S
from calmops.foundation.sockets import Channel
from calmops.messages.roster import GangEntry, GatewayEntry, Member


class Reapers:
    """Stands in for the nodes' reapers: notes what each is asked, without waiting."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def of(self, node_id: str) -> Any:
        def order(name: str) -> Any:
            return SimpleNamespace(remote=lambda *given: self.asked.append((node_id, name, *given)))

        return SimpleNamespace(hold=order("hold"), kill=order("kill"), release=order("release"))

    def ends(self) -> list[tuple[Any, ...]]:
        """Return what they were asked to do, watching gangs left out."""
        return [order for order in self.asked if order[1] != "hold"]


class Clock:
    """Is the registry's monotonic clock."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def reapers() -> Reapers:
    return Reapers()


@pytest.fixture
def registry(clock: Clock, reapers: Reapers) -> Registry:
    assert clock.now_s > 0
    return Registry(reapers.of)


def gateway(name: str = "gw") -> GatewayEntry:
    return GatewayEntry(gateway_id=name, channel=Channel(address=f"ipc://@{name}"), node_id="n1")


def gang(name: str = "g1", model: str = "m", node_id: str = "n1") -> GangEntry:
    return GangEntry(
        model=model, replica_id=f"replica-{name}", gang_id=name, node_id=node_id, fingerprint="f", tp=1,
        members=(Member(rank=0, pid=7, started_ticks=1),),
    )  # fmt: skip


def gang_ids(registry: Registry) -> list[str]:
    return [entry.gang_id for entry in registry.roster().gangs]


def test_gateways_and_gangs_are_on_the_roster_until_their_leases_expire(registry: Registry, clock: Clock) -> None:
    registry.gang_here(gang())
    assert [entry.gateway_id for entry in registry.gateway_here(gateway()).gateways] == ["gw"]
    clock.now_s += LEASE_S
    registry.gang_here(gang())
    assert (len(registry.roster().gateways), gang_ids(registry)) == (1, ["g1"])
    clock.now_s += 0.01
    assert (registry.roster().gateways, gang_ids(registry)) == ((), ["g1"])
    clock.now_s += LEASE_S
    assert gang_ids(registry) == []


def test_a_gang_gets_the_lowest_free_slot_of_its_model_and_keeps_it(registry: Registry, clock: Clock) -> None:
    shards = {
        entry.gang_id: registry.gang_here(entry)[0] for entry in (gang("g1"), gang("g2"), gang("x", model="other"))
    }
    assert shards == {"g1": 0, "g2": 1, "x": 0}
    clock.now_s += 0.7 * LEASE_S
    assert registry.gang_here(gang("g2"))[0] == 1
    clock.now_s += 0.7 * LEASE_S
    assert gang_ids(registry) == ["g2"], "the first one's lease has expired"
    assert registry.gang_here(gang("g3"))[0] == 0
    assert registry.gang_here(gang("g4"))[0] == 2
    assert {entry.gang_id: entry.shard for entry in registry.roster().gangs} == {"g2": 1, "g3": 0, "g4": 2}


def test_every_report_of_a_gang_has_its_nodes_reaper_watch_it(registry: Registry, reapers: Reapers) -> None:
    entry = gang(node_id="n7")
    registry.gang_here(entry)
    registry.gang_here(entry)
    assert reapers.asked == [("n7", "hold", "g1", entry.members)] * 2, "a reaper that was restarted knows it again"


def test_a_lost_gang_is_ended_once_by_its_nodes_reaper(registry: Registry, reapers: Reapers) -> None:
    registry.gang_here(gang(node_id="n7"))
    registry.gang_here(gang("g2"))
    assert registry.gang_lost("g1", "it fell silent")
    assert not registry.gang_lost("g1", "another gateway says so too")
    assert reapers.ends() == [("n7", "kill", "g1")]
    assert gang_ids(registry) == ["g2"]


def test_a_gang_that_was_ended_may_report_and_is_not_on_the_roster_again(registry: Registry) -> None:
    registry.gang_here(gang())
    registry.gang_lost("g1", "it fell silent")
    registry.gang_here(gang())
    assert gang_ids(registry) == []


def test_a_gang_that_nobody_knows_is_noted_as_ended_and_no_reaper_is_asked(
    registry: Registry, reapers: Reapers
) -> None:
    assert not registry.gang_lost("stranger", "it fell silent")
    registry.gang_here(gang("stranger"))
    assert gang_ids(registry) == []
    assert reapers.ends() == []


def test_a_gang_that_leaves_in_order_is_released_and_never_killed(registry: Registry, reapers: Reapers) -> None:
    registry.gang_here(gang(node_id="n7"))
    registry.gang_leaves("g1")
    assert not registry.gang_lost("g1", "its last frame came")
    assert reapers.ends() == [("n7", "release", "g1")]
    assert gang_ids(registry) == []
    registry.gang_leaves("stranger")
    assert len(reapers.ends()) == 1


def test_only_the_newest_ended_gangs_are_remembered(registry: Registry) -> None:
    for number in range(ENDED_REMEMBERED + 1):
        registry.gang_lost(f"g{number}", "it fell silent")
    registry.gang_here(gang("g0"))
    registry.gang_here(gang("g1"))
    assert gang_ids(registry) == ["g0"]


def test_a_replica_drains_until_it_is_undone_or_has_left(registry: Registry) -> None:
    registry.gang_here(gang("g1"))
    registry.gang_here(gang("g2"))
    registry.set_draining("replica-g1", True)
    registry.set_draining("replica-g2", True)
    assert registry.roster().draining == ("replica-g1", "replica-g2")
    registry.set_draining("replica-g2", False)
    assert registry.roster().draining == ("replica-g1",)
    registry.gang_leaves("g1")
    assert registry.roster().draining == ()
    registry.set_draining("replica-g2", False)
    registry.set_draining("replica-stranger", True)
    assert registry.roster().draining == ()


def test_a_model_is_out_of_service_until_it_is_put_back(registry: Registry) -> None:
    for model in ("b", "a", "b"):
        registry.set_disabled(model, True)
    assert registry.roster().disabled == ("a", "b")
    registry.set_disabled("b", False)
    registry.set_disabled("never", False)
    assert registry.roster().disabled == ("a",)


def test_the_meter_is_where_it_reported_last(registry: Registry) -> None:
    assert registry.roster().meter_url is None
    registry.meter_here("http://old")
    assert registry.meter_here("http://new").meter_url == "http://new"
    assert registry.gateway_here(gateway()).meter_url == "http://new"


def test_the_digests_of_what_was_deployed_last_are_kept_by_application(registry: Registry) -> None:
    assert registry.deployed() == {}
    registry.note_deployed({"gateway": "", "model-a": "1"})
    registry.note_deployed({"gateway": "2"})
    assert registry.deployed() == {"gateway": "2", "model-a": "1"}
