"""Runs a rank other than 0: it loads its shard together with the others, then follows plans. Decides nothing."""

import os
import threading

from calmops.engine.engine import Follower
from calmops.engine.settings import EngineSettings
from calmops.engine.tensor_parallel import join
from calmops.foundation.sockets import PlanReceiver, rank_address
from calmops.messages.roster import Member


class RankProcess:
    """Loads one rank's shard and follows plans on a thread of its own."""

    def __init__(self, rank: int, gang_id: str) -> None:
        self._rank = rank
        self._gang_id = gang_id

    def member(self) -> Member:
        """Describe this process, for the reaper."""
        return Member.living(self._rank, os.getpid())

    def load(self, settings: EngineSettings, port: int) -> None:
        """Join the other ranks, load the shard together with them, then start to follow."""
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
