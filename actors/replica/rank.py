"""Runs rank 1..N-1 of a gang as a child actor of the replica, in its placement group.

Ray ships an actor's class by value, so this class names nothing of calmops: a worker of a submitted job finds calmops
only once it has imported ``actors``, which puts calmops on the path.
"""

from typing import Any

import ray


@ray.remote(num_cpus=1, max_restarts=0)
class Rank:
    """Wraps a ``RankProcess`` in an actor."""

    def __init__(self, rank: int, gang_id: str) -> None:
        from actors.replica.follower import RankProcess

        self._process = RankProcess(rank, gang_id)

    def member(self) -> Any:
        """Describe this process, for the reaper: a roster.Member."""
        return self._process.member()

    def load(self, settings: Any, port: int) -> None:
        """Load the shard of these EngineSettings with the other ranks, which meet on ``port``; then follow."""
        self._process.load(settings, port)
