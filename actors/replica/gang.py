"""Starts and stops a gang, the ranks that live and die together, from rank 0: the Serve replica's own process."""

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import ray
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.cluster.reaper import reaper_of
from actors.replica.rank import Rank
from calmops.engine.settings import EngineSettings
from calmops.foundation.errors import GangError
from calmops.foundation.ports import free_port
from calmops.foundation.sockets import PlanSender, rank_address
from calmops.messages.plan import StepPlan, Stop
from calmops.messages.roster import Member

if TYPE_CHECKING:
    from calmops.engine.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """Holds a loaded gang. ``ranks`` are kept so that the child actors live as long as their replica."""

    gang_id: str
    engine: "Engine"
    members: tuple[Member, ...]
    ranks: tuple["ray.actor.ActorHandle", ...]
    sender: PlanSender

    def stop(self) -> None:
        """Send the other ranks a Stop, so that they exit, and close the way to them."""
        self.sender.send(_encode(Stop(reason="the replica stops")))
        self.sender.close()


_encode = msgspec.msgpack.Encoder().encode


def start_gang(settings: EngineSettings, *, load_s: float, bundle: dict[str, float]) -> Gang:
    """Start ranks 1..tp-1 and load all shards together. Raises GangError if a rank dies or ``load_s`` passes.

    torch is imported here and not above. It takes seconds on a small CPU: the other ranks import it at the same time,
    and a process that only names a replica (`calmops up`, the builders) never does.
    """
    gang_id = os.urandom(6).hex()
    sender = PlanSender(tuple(rank_address(gang_id, rank) for rank in range(1, settings.tp)))
    ranks = tuple(_start_rank(rank, gang_id, bundle) for rank in range(1, settings.tp))
    from calmops.engine.engine import Engine
    from calmops.engine.tensor_parallel import join

    try:
        members = (Member.living(0, os.getpid()), *ray.get([rank.member.remote() for rank in ranks], timeout=load_s))
        reaper = reaper_of(ray.get_runtime_context().get_node_id())
        ray.get(reaper.hold.remote(gang_id, members), timeout=load_s)  # before anything can spin on a dead peer
        cores = ray.get(reaper.lease.remote(gang_id, settings.tp * settings.threads), timeout=load_s)
        mine, *others = (dataclasses.replace(settings, cores=share) for share in _shares(cores, settings))
        port = free_port()  # each gang gets a fresh one, so no rank reads a dead gang's state
        loading = [rank.load.remote(theirs, port) for rank, theirs in zip(ranks, others, strict=True)]
        join(0, settings.tp, port, settings.device)
        engine = Engine.load(mine, lambda plan: _send(sender, plan))
        ray.get(loading, timeout=load_s)
    except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
        raise GangError(f"gang {gang_id} of {settings.tp} ranks did not load within {load_s:.0f} s: {error}") from error
    return Gang(gang_id=gang_id, engine=engine, members=members, ranks=ranks, sender=sender)


def _shares(cores: tuple[int, ...], settings: EngineSettings) -> list[tuple[int, ...]]:
    """Return each rank's share of the leased cores, one core per thread; empty shares if none were left."""
    return [cores[rank * settings.threads : (rank + 1) * settings.threads] for rank in range(settings.tp)]


def _send(sender: PlanSender, plan: StepPlan) -> None:
    sender.send(_encode(plan))


def _start_rank(rank: int, gang_id: str, bundle: dict[str, float]) -> "ray.actor.ActorHandle":
    group = get_current_placement_group()
    assert group is not None, "a replica with tp > 1 runs in a placement group of one bundle per rank"
    others = {name: amount for name, amount in bundle.items() if name not in ("CPU", "GPU")}
    return Rank.options(
        num_cpus=bundle.get("CPU", 0), num_gpus=bundle.get("GPU", 0), resources=others,
        scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank),
    ).remote(rank, gang_id)  # fmt: skip
