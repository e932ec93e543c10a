"""One small actor per node that holds the gangs' pids and ends a gang whole. Knows no request and no model.

A stopped process can't kill itself, and a rank whose peer died spins in the all-reduce until it is killed: so neither
can be left to the gang. A pidfd reports a death at once, /proc shows a stop, and the gateways report silence.
"""

import os
import select
import signal
import threading
import time
from collections.abc import Mapping

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.cluster.app_names import NAMESPACE, reaper_name
from calmops.foundation.live_process import is_stopped, lives
from calmops.foundation.liveness import REAPER_POLL_S, STOPPED_S
from calmops.messages.roster import Member


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, max_concurrency=4)
class Reaper:
    """Kills every rank of a gang as soon as one is gone, or when told."""

    def __init__(self) -> None:
        self._gangs: dict[str, tuple[Member, ...]] = {}
        self._pidfds: dict[int, str] = {}
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._leases: dict[str, tuple[int, ...]] = {}  # gang id -> cores
        self._stopped_s: dict[str, float] = {}  # gang id -> since when one of its ranks is seen stopped
        threading.Thread(target=self._watch, name="reaper", daemon=True).start()

    def hold(self, gang_id: str, members: tuple[Member, ...]) -> None:
        """Watch these processes as one gang. Calling it again for a gang that is watched changes nothing."""
        with self._lock:
            if gang_id in self._gangs:
                return
            self._gangs[gang_id] = members
            for member in members:
                if lives(member.pid, member.started_ticks):
                    pidfd = os.pidfd_open(member.pid)
                    self._pidfds[pidfd] = gang_id
                    self._poll.register(pidfd, select.POLLIN)

    def lease(self, gang_id: str, count: int) -> tuple[int, ...]:
        """Lease cores of this node to a gang that is held, none of which another gang has; () if too few are left.

        The lease ends with the gang.
        """
        with self._lock:
            if gang_id not in self._gangs:
                return ()
            self._leases[gang_id] = cores = spare_cores(tuple(sorted(os.sched_getaffinity(0))), self._leases, count)
            return cores

    def release(self, gang_id: str) -> None:
        """Stop watching a gang that ends by itself, in order."""
        with self._lock:
            self._forget(gang_id)

    def kill(self, gang_id: str) -> int:
        """Send SIGKILL to every rank that still lives; return how many. An unknown gang has none."""
        with self._lock:
            members = self._gangs.get(gang_id, ())
            self._forget(gang_id)
        return sum(_kill(one) for one in members)

    def gangs(self) -> dict[str, tuple[Member, ...]]:
        """Return the gangs that are watched, with their members."""
        with self._lock:
            return dict(self._gangs)

    def _forget(self, gang_id: str) -> None:
        self._gangs.pop(gang_id, None)
        self._leases.pop(gang_id, None)
        self._stopped_s.pop(gang_id, None)
        for pidfd in [fd for fd, gang in self._pidfds.items() if gang == gang_id]:
            self._poll.unregister(pidfd)
            del self._pidfds[pidfd]
            os.close(pidfd)

    def _watch(self) -> None:
        while True:
            if not self._pidfds:
                time.sleep(REAPER_POLL_S)
                continue
            for pidfd, _ in self._poll.poll(1000 * REAPER_POLL_S):
                gang_id = self._pidfds.get(pidfd)
                if gang_id is not None:
                    self.kill(gang_id)
            for gang_id in self._stopped_too_long(time.monotonic()):
                self.kill(gang_id)

    def _stopped_too_long(self, now_s: float) -> list[str]:
        gangs = self.gangs()
        stopped = {gang_id for gang_id, members in gangs.items() if any(is_stopped(one.pid) for one in members)}
        self._stopped_s = {gang_id: self._stopped_s.get(gang_id, now_s) for gang_id in stopped}
        return [gang_id for gang_id, since_s in self._stopped_s.items() if now_s - since_s >= STOPPED_S]


def spare_cores(all_cores: tuple[int, ...], leases: Mapping[str, tuple[int, ...]], count: int) -> tuple[int, ...]:
    """Return the first ``count`` cores that nobody has leased; () if there are fewer."""
    taken = {core for cores in leases.values() for core in cores}
    spare = tuple(core for core in all_cores if core not in taken)
    return spare[:count] if len(spare) >= count else ()


def reaper_of(node_id: str) -> "ray.actor.ActorHandle":
    """Return the node's reaper, started if it isn't there."""
    return Reaper.options(
        name=reaper_name(node_id), namespace=NAMESPACE, lifetime="detached", get_if_exists=True,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
    ).remote()  # fmt: skip


def _kill(member: Member) -> bool:
    if not lives(member.pid, member.started_ticks):
        return False
    try:
        os.kill(member.pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
