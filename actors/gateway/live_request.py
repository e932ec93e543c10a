"""Holds a live request in its gateway: what is journaled and not yet written, and how it ended. One loop owns it."""

import asyncio
from collections import deque

from calmops.foundation.errors import CalmopsError, LoadError
from calmops.intake.validate import Intake
from calmops.messages.frame import Delta, Frame
from calmops.streams.journal import Journal, Taken
from calmops.tracing.context import TraceContext


class LiveRequest:
    """Holds one accepted call: the exchange fills ``outbox``, the response empties it, the driver ends it."""

    def __init__(self, intake: Intake, journal: Journal, trace: TraceContext) -> None:
        self.intake = intake
        self.journal = journal
        self.trace = trace  # the trace that it belongs to
        self.outbox: deque[Taken] = deque()
        self.wake = asyncio.Event()  # the outbox has something, or the request ended
        self.lost = asyncio.Event()  # this attempt's replica is lost
        self.why_lost = ""
        self.perhaps_lost = False  # the replica is only silent
        self.done = False
        self.error: CalmopsError | None = None
        self.cancelled_as: str | None = None  # outcome of a request that was ended from outside
        self.sending_since_ns: int | None = None  # a write that the client hasn't taken yet
        self.drive_task: asyncio.Task[None] | None = None
        self.response_task: asyncio.Task[object] | None = None

    @property
    def request_id(self) -> str:
        """The id that every log line, frame and record of the request carries."""
        return self.intake.request.request_id

    def take(self, delta: Delta, frame: Frame, now_ns: int) -> Taken | None:
        """Journal one delta and hand its text over. Return None if it was fenced off. Raises OutOfStep."""
        taken = self.journal.take(delta, frame.engine_ns, now_ns)
        if taken is not None:
            self.journal.stepped(now_ns - (0 if frame.facts is None else frame.facts.duration_ns))
        if taken is not None and (taken.new_ids or taken.text or taken.finish_reason is not None):
            self.outbox.append(taken)
            self.wake.set()
        return taken

    def lose(self, why: str, *, perhaps: bool = False) -> None:
        """Let the driver know that this attempt's replica is lost; ``perhaps`` means that it is only silent."""
        if self.lost.is_set() and not self.perhaps_lost:
            return
        self.why_lost, self.perhaps_lost = why, perhaps
        self.lost.set()

    def end(self, error: CalmopsError | None = None, *, outcome: str | None = None) -> None:
        """End the request. Only the first call counts. ``outcome`` is that of a request ended from outside."""
        if self.done:
            return
        self.done = True
        self.error = error
        self.cancelled_as = outcome
        self.wake.set()

    def outcome(self) -> str:
        """Return how the request ended: one of messages.record.OUTCOMES."""
        if self.cancelled_as is not None:
            return self.cancelled_as
        if isinstance(self.error, LoadError):
            return "refused_load"
        if self.error is not None:
            return "timeout" if self.error.status == 408 else "failed"
        reasons = set(self.journal.finish_reasons())
        for outcome in ("loop_guard", "length"):
            if outcome in reasons:
                return outcome
        return "completed"
