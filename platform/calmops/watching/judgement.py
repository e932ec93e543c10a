"""Decides what fires and how each objective stands: the embedded evaluator, run on reading after reading of the counts.

Alerts are evaluated here even if a Prometheus evaluates them too, since the console shows them. Only Alertmanager
notifies people. Knows no meter and no thread: its owner calls it, one call at a time.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from calmops.foundation.model_labels import ModelLabels
from calmops.objectives.evaluation import saved_sums
from calmops.objectives.evaluation.evaluator import Evaluator, Firing, Labels, model_of
from calmops.objectives.evaluation.event_counters import Counter
from calmops.objectives.evaluation.saved_sums import SavedSums
from calmops.objectives.evaluation.status import Status, statuses
from calmops.objectives.promises.maintenance import maintained
from calmops.objectives.promises.promises import Promises
from calmops.objectives.promises.windows import AtRisk, Windows

EVALUATE_S = 15.0  # as often as a Prometheus would read the counters
LATE_S = 3 * EVALUATE_S  # after so long without an evaluation nobody knows what fires
# Counters that the embedded evaluator remembers: some 500 MB, counters for six hours, shards' steps for three days.
MOST_COUNTERS = 5000
NO_PROMISES = Promises((), Windows(windows=(), at_risk=AtRisk(left=0.5, ends_within_s=1)))
UNREAD = "the objectives can't be read; the meter's log says why, and it tries again"
NOT_YET = "the alerts haven't been evaluated yet"
LATE = f"the alerts weren't evaluated for more than {LATE_S:.0f} s; the meter's log says why"


class Judgement:
    """Evaluates the promises in force. Times are seconds of the owner's clock, which nobody sets."""

    def __init__(self, now_s: float, failed: Callable[[str], None]) -> None:
        """Begin without promises: no alert is known until ``take_up`` brings them.

        ``failed`` counts an exception that is being handled, under one of WATCH_PARTS.
        """
        self._failed = failed
        self.promises = NO_PROMISES
        self.firing: list[Firing] = []
        self.since_s: dict[tuple[str, str, Labels], float] = {}  # wall clock, by alert, severity and label set
        self._file: Path | None = None
        self._evaluator = Evaluator((), NO_PROMISES.windows)
        self.take_up(None, now_s)

    def remember_in(self, path: Path) -> None:
        """Keep the evaluator's sums in a file, and go on from those of an earlier meter at the next ``take_up``."""
        self._file = path

    def take_up(self, promises: Promises | None, now_s: float) -> None:
        """Begin to evaluate these promises; None means that they couldn't be read."""
        self.promises = promises or NO_PROMISES
        sums = self._evaluator.saved() or self._saved_before()
        self._evaluator = Evaluator(self.promises.objectives, self.promises.windows)
        self._evaluator.resume(sums, now_s)
        self._due_s = self._evaluated_s = float("-inf")
        self._unknown = UNREAD if promises is None else None

    def evaluate(
        self,
        at_s: float,
        wall_s: float,
        counters: Mapping[Counter, int],
        gauges: Mapping[str, Mapping[ModelLabels, float]],
    ) -> None:
        """Take one reading and evaluate every alert, if EVALUATE_S have passed since the last time."""
        if at_s < self._due_s or self.promises is NO_PROMISES:
            return
        self._due_s = at_s + EVALUATE_S
        if len(counters) > MOST_COUNTERS:
            self.firing = []
            self._unknown = (
                f"{len(counters)} series are too many to evaluate here (at most {MOST_COUNTERS}); run a Prometheus"
            )
            return
        self._evaluator.read(at_s, {name: float(value) for name, value in counters.items()}, gauges)
        self.firing = self._evaluator.evaluate(at_s, maintained(self.promises.announced, wall_s))
        names = {(firing.alert, firing.severity, firing.labels) for firing in self.firing}
        self.since_s = {name: self.since_s.get(name, wall_s) for name in names}
        self._evaluated_s, self._unknown = at_s, None

    def shown(self) -> list[Firing]:
        """Return what fires, pages first. Tickets whose model pages for the same are left out, as in Alertmanager."""
        paging = {(firing.alert, firing.labels) for firing in self.firing if firing.severity == "page"}
        loud = [
            firing
            for firing in self.firing
            if firing.severity == "page" or (firing.alert, model_of(firing.labels)) not in paging
        ]
        return sorted(loud, key=lambda firing: firing.severity)

    def unknown(self, now_s: float) -> str | None:
        """Return why nobody knows what fires; None if it is known."""
        if self._unknown is not None:
            return self._unknown
        if self._evaluated_s == float("-inf"):
            return NOT_YET
        return LATE if now_s - self._evaluated_s > LATE_S else None

    def statuses(self) -> list[Status]:
        """Return how every objective stood at the last evaluation."""
        return statuses(self.promises.objectives, self._evaluator, self._evaluated_s)

    def save(self) -> None:
        """Write the evaluator's sums to the file. An empty evaluator leaves the file as it is."""
        try:
            if self._file is not None and (sums := self._evaluator.saved()):
                saved_sums.write(self._file, sums)
        except OSError:
            self._failed("memory")

    def _saved_before(self) -> list[SavedSums]:
        try:
            return [] if self._file is None else saved_sums.read(self._file)
        except OSError:
            self._failed("memory")
            return []
