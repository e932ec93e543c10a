"""Rank 1..N-1 of a gang: a child actor of the replica, in its placement group. Follows plans, decides nothing."""

import os
import threading

import ray

from actors.roster import Member, member
from calmops.engine.runner import Follower
from calmops.engine.settings import EngineSettings
from calmops.engine.tensor_parallel import join
from calmops.foundation.sockets import PlanReceiver, rank_address


@ray.remote(num_cpus=1, max_restarts=0)
class Rank:
    """One process of the tensor-parallel group."""

    def __init__(self, rank: int, gang_id: str) -> None:
        self._rank = rank
        self._gang_id = gang_id

    def member(self) -> Member:
        """This process, for the reaper."""
        return member(self._rank, os.getpid())

    def load(self, settings: EngineSettings, port: int) -> None:
        """Join the world, load and shard together with the other ranks, then follow on a thread of its own."""
        join(self._rank, settings.tp, port, settings.device)
        follower = Follower.load(settings, self._rank)
        receiver = PlanReceiver(rank_address(self._gang_id, self._rank))
        threading.Thread(target=self._follow, args=(follower, receiver), name="rank", daemon=True).start()

    def _follow(self, follower: Follower, receiver: PlanReceiver) -> None:
        try:
            while follower.follow(receiver.receive()):
                pass
        finally:
            os._exit(1)  # a rank that can't follow must not linger: the reaper sees it go and ends the gang
