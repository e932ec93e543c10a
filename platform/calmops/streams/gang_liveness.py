"""Decides for a gateway which gangs are heard, whose frames have gaps, and which have fallen silent. Pure.

Silence is the main sign of a lost gang: while idle it beats every stall_s / 5, while busy each step is heard.
The states of a gang (the bounds are in foundation/liveness.py):

    first frame --> HEARD --no frame for the bound--> SILENT --no frame for DEAD_STALLS bounds--> dead --> LOST
                      ^                                  |                                                  ^
                      +------------- any frame ----------+          last frame, or a call that failed ------+

    HEARD     its steps and beats arrive; the bound is max(stall_s, LONGEST_STEPS x its longest recent step)
    SILENT    nothing arrives. If another gang of its model is heard and takes placements, it is *forsaken*: its streams
              go there at once, which costs little if it was only slow. If there is none, they wait for it.
    LOST      for good: it is reported, the reaper ends it, and whatever it may still send is fenced off.
"""

from collections import deque
from collections.abc import Callable

from msgspec import Struct

from calmops.foundation.liveness import DEAD_STALLS, LONGEST_STEPS
from calmops.messages.frame import Frame, StepFacts

STEPS_RECENT = 128  # step durations that the stall bound is made of
LOST_REMEMBERED = 256  # lost gangs, so that a stopped one that wakes stays fenced off


class Heard(Struct, frozen=True, kw_only=True):
    """Says what a frame means for its link."""

    gap: bool = False  # frames are missing: the streams must migrate
    ended: bool = False  # the gang says that this is its last frame
    lost: bool = False  # the gang counts as lost: its frame is to be ignored


class GangView(Struct, frozen=True, kw_only=True):
    """Describes one gang as its frames show it."""

    gang_id: str
    replica_id: str
    model: str
    shard: int
    fingerprint: str
    step: int
    heard_ns: int
    facts: StepFacts | None
    facts_step: int  # the step that the facts are of; -1 without facts


class _Gang:
    __slots__ = ("durations", "facts", "facts_step", "frame", "heard_ns", "link_seq", "silent")

    def __init__(self) -> None:
        self.frame: Frame | None = None
        self.facts: StepFacts | None = None
        self.facts_step = -1
        self.link_seq = 0
        self.heard_ns = 0
        self.silent = False
        self.durations: deque[int] = deque(maxlen=STEPS_RECENT)


class GangLiveness:
    """Keeps the state of every gang that has sent this gateway a frame."""

    def __init__(self, stall_ns: int, takes: Callable[[str], bool]) -> None:
        """``takes`` says whether a replica, by its id, is given placements; one that drains is heard and takes none."""
        self._stall_ns = stall_ns
        self._takes = takes
        self._gangs: dict[str, _Gang] = {}
        self._lost: dict[str, str] = {}  # gang id -> replica id
        self._looked_ns: int | None = None

    def hear(self, frame: Frame, now_ns: int) -> Heard:
        """Note one frame, and return what it means."""
        if frame.gang_id in self._lost:
            return Heard(lost=True)
        gang = self._gangs.get(frame.gang_id)
        if gang is None:
            gang = self._gangs[frame.gang_id] = _Gang()
        gap = frame.link_seq != gang.link_seq + 1
        gang.link_seq = frame.link_seq
        gang.frame, gang.heard_ns, gang.silent = frame, now_ns, False
        if frame.facts is not None:
            gang.facts, gang.facts_step = frame.facts, frame.step
            gang.durations.append(frame.facts.duration_ns)
        return Heard(gap=gap, ended=frame.last)

    def newly_silent(self, now_ns: int) -> tuple[str, ...]:
        """Return gangs that have just fallen silent: not heard for longer than their bound.

        If this wasn't called for half the stall bound, this gateway itself was held up, and frames may lie unread:
        every gang's clock is then set on by that much.
        """
        held_up_ns = 0 if self._looked_ns is None else now_ns - self._looked_ns
        self._looked_ns = now_ns
        if held_up_ns > self._stall_ns // 2:
            for gang in self._gangs.values():
                gang.heard_ns = min(now_ns, gang.heard_ns + held_up_ns)
        silent = []
        for gang_id, gang in self._gangs.items():
            if not gang.silent and now_ns - gang.heard_ns > self._bound_ns(gang):
                gang.silent = True
                silent.append(gang_id)
        return tuple(silent)

    def dead(self, now_ns: int) -> tuple[str, ...]:
        """Return gangs that haven't been heard for longer than DEAD_STALLS times their bound."""
        return tuple(
            gang_id
            for gang_id, gang in self._gangs.items()
            if gang.silent and now_ns - gang.heard_ns > DEAD_STALLS * self._bound_ns(gang)
        )

    def lose(self, gang_id: str) -> None:
        """Count a gang as lost for good: frames that it may still send are ignored."""
        gang = self._gangs.pop(gang_id, None)
        if gang is not None and gang.frame is not None:
            self._lost[gang_id] = gang.frame.replica_id
            while len(self._lost) > LOST_REMEMBERED:
                del self._lost[next(iter(self._lost))]

    def serves(self, model: str, lost: tuple[str, ...]) -> bool:
        """Return whether a gang of this model is heard, other than those of the replicas named as lost."""
        return any(
            gang.frame is not None
            and not gang.silent
            and gang.frame.model == model
            and gang.frame.replica_id not in lost
            for gang in self._gangs.values()
        )

    def forsaken(self) -> tuple[str, ...]:
        """Return silent gangs whose streams should leave: another gang of the model is heard and takes placements."""
        served = {
            gang.frame.model
            for gang in self._gangs.values()
            if gang.frame is not None and not gang.silent and self._takes(gang.frame.replica_id)
        }
        return tuple(
            gang_id
            for gang_id, gang in self._gangs.items()
            if gang.silent and gang.frame is not None and gang.frame.model in served
        )

    def lost_replicas(self) -> tuple[str, ...]:
        """Return replica ids of lost gangs and of forsaken ones. A restarted gang has another replica id."""
        forsaken = [self.replica_of(gang_id) for gang_id in self.forsaken()]
        return (*self._lost.values(), *(replica_id for replica_id in forsaken if replica_id is not None))

    def replica_of(self, gang_id: str) -> str | None:
        """Return the replica whose gang this is or was; None if it was never heard."""
        gang = self._gangs.get(gang_id)
        return gang.frame.replica_id if gang is not None and gang.frame is not None else self._lost.get(gang_id)

    def gang_of(self, replica_id: str) -> str | None:
        """Return the gang of this replica that was heard and isn't lost; None if there is none."""
        return next((gang.gang_id for gang in self.gangs() if gang.replica_id == replica_id), None)

    def model_of(self, gang_id: str) -> str:
        """Return the model that a gang serves; "unknown" for one that was never heard."""
        gang = self._gangs.get(gang_id)
        return gang.frame.model if gang is not None and gang.frame is not None else "unknown"

    def gangs(self) -> tuple[GangView, ...]:
        """Return every gang that was heard and isn't lost."""
        return tuple(_view(gang) for gang in self._gangs.values() if gang.frame is not None)

    def _bound_ns(self, gang: _Gang) -> int:
        return max(self._stall_ns, LONGEST_STEPS * max(gang.durations, default=0))


def _view(gang: _Gang) -> GangView:
    frame = gang.frame
    assert frame is not None, "a gang is viewed before its first frame"
    return GangView(
        gang_id=frame.gang_id, replica_id=frame.replica_id, model=frame.model, shard=frame.shard,
        fingerprint=frame.fingerprint, step=frame.step, heard_ns=gang.heard_ns, facts=gang.facts,
        facts_step=gang.facts_step,
    )  # fmt: skip
