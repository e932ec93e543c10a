"""Rank 1..N-1 of a gang: a child actor of the replica, in its placement group.

Ray ships an actor's class by value, so this one names nothing of calmops: a worker of a submitted job finds calmops
only once it has imported ``actors``, which knows where it lies.
"""

from typing import Any

import ray


@ray.remote(num_cpus=1, max_restarts=0)
class Rank:
    """The process around a ``RankProcess``."""

    def __init__(self, rank: int, gang_id: str) -> None:
        from actors.replica.follower import RankProcess

        self._following = RankProcess(rank, gang_id)

    def member(self) -> Any:
        """This process, for the reaper: a roster.Member."""
        return self._following.member()

    def load(self, settings: Any, port: int) -> None:
        """Load an EngineSettings' shard with the other ranks, which meet on ``port``; then follow."""
        self._following.load(settings, port)
