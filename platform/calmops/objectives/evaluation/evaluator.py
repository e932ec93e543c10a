"""The alerts where no Prometheus runs: the same mathematics as rules.py, on the meter's own counters.

``read`` takes one reading, ``evaluate`` says what fires. Spans that pages ask for come from the counters themselves; what
was counted is noted once a step, and spans that tickets and budgets ask for are summed from those notes. Each is kept as long
as something looks back on it: a shard's steps for a ticket's spans, a model's for the period of its budget, a zero's not at all.
"""

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from calmops.foundation.metric_names import BAD, GOOD
from calmops.foundation.model_labels import ModelLabels, ShardLabels
from calmops.objectives.evaluation.burn import budget_left, burn, is_at_risk
from calmops.objectives.evaluation.event_counters import Counter
from calmops.objectives.evaluation.history import CounterHistory, StepSums
from calmops.objectives.evaluation.saved_sums import SavedSums
from calmops.objectives.promises.objective import AnyObjective, Ratio, Severity, Value, Zero
from calmops.objectives.promises.windows import Window, Windows
from calmops.objectives.rules.series import STEP_S, ZERO_S

Labels = ModelLabels | ShardLabels
Gauges = Mapping[str, Mapping[ModelLabels, float]]  # by the gauge's name
GRAINS = 720  # of a budget's period: an hour of 30 days, which leaves them as a whole
KEPT = {"lt": operator.lt, "lte": operator.le, "gt": operator.gt, "gte": operator.ge}


class Firing(NamedTuple):
    """One alert that fires. ``labels``: a shard's for a ticket, a model's for a page."""

    alert: str
    severity: Severity
    labels: Labels
    value: float  # the burn over the long span, the number of bad events, or the gauge


class Spent(NamedTuple):
    """What happened in a span: how fast the budget burnt, and how many events there were."""

    burn: float
    events: float


class Evaluator:
    """Owns what it read; bounded by the longest span that is asked for, and what isn't read any more goes after as long."""

    def __init__(self, objectives: Sequence[AnyObjective], windows: Windows, step_s: float = STEP_S) -> None:
        self._objectives = objectives
        self._windows = windows
        self._step_s = step_s
        spans = {
            severity: [one.long_s for one in windows.windows if one.severity == severity]
            for severity in ("page", "ticket")
        }
        self._keep_s = {
            one.name: ZERO_S if isinstance(one, Zero) else max([*spans["page"], ZERO_S]) for one in objectives
        }
        self._keep_steps_s = max([*spans["ticket"], step_s])
        self._ratios = {one.name: one for one in objectives if isinstance(one, Ratio)}
        self._counters: dict[Counter, CounterHistory] = {}
        self._steps: dict[tuple[str, Labels], StepSums] = {}  # by objective, and the labels of a shard or of a model
        self._shards: dict[
            tuple[str, ModelLabels], dict[ShardLabels, None]
        ] = {}  # objective and model to its shards, in order
        self._gauges: Gauges = {}
        self._out_since_s: dict[tuple[str, ModelLabels], float] = {}
        self._stepped_s = float("-inf")

    def read(self, at_s: float, counters: Mapping[Counter, float], gauges: Gauges) -> None:
        """One reading, later than the last."""
        for name, value in counters.items():
            if name not in self._counters:
                self._counters[name] = CounterHistory(self._keep_s[name.objective])
                self._shards.setdefault((name.objective, name.labels.of_model), {})[name.labels] = None
            self._counters[name].append(at_s, value)
        self._gauges = gauges

    def evaluate(self, at_s: float, maintained: Iterable[str] = ()) -> list[Firing]:
        """What fires now. ``maintained``: models that only a zero's alert is raised for; an empty name stands for all."""
        if at_s - self._stepped_s >= self._step_s:
            self._take_step(at_s)
        silent = frozenset(maintained)
        return [one for objective in self._objectives for one in self._firing(objective, at_s, silent)]

    def saved(self) -> list[SavedSums]:
        """What was noted in each step: what budgets and tickets look back on, for an evaluator that comes after this one."""
        return [
            SavedSums(
                objective=name,
                source=self._ratios[name].source,
                model=model_of(labels),
                shard=labels.shard if isinstance(labels, ShardLabels) else None,
                steps=steps.saved(),
            )
            for (name, labels), steps in self._steps.items()
        ]

    def resume(self, noted: Iterable[SavedSums], now_s: float) -> None:
        """Go on from there before anything is read, as far as the same events are still counted. Pages look back anew."""
        for one in noted:
            objective = self._ratios.get(one.objective)
            if objective is None or objective.source != one.source:
                continue
            steps = self._no_steps(one.objective, one.labels)
            steps.resume(one.steps, now_s)
            if steps:
                self._steps[one.objective, one.labels] = steps
                shards = self._shards.setdefault((one.objective, one.model), {})
                if isinstance(one.labels, ShardLabels):
                    shards[one.labels] = None

    def models(self, objective: str) -> list[ModelLabels]:
        """Of which models something was counted for an objective."""
        return [model for name, model in self._shards if name == objective]

    def burnt(self, objective: Ratio, model: ModelLabels, span_s: float, at_s: float) -> float | None:
        """How fast a model's budget burnt over a span no longer than a page looks back; None while idle."""
        spent = self._spent(objective, model, span_s, at_s)
        return spent.burn if spent else None

    def bad(self, objective: Zero, model: ModelLabels, at_s: float) -> float | None:
        """How many bad events keep a zero's alert firing; None before there is a second reading."""
        return self._rise(objective.name, self._shards[objective.name, model], (BAD,), (at_s - ZERO_S, at_s))

    def gauge(self, objective: Value) -> Mapping[ModelLabels, float]:
        """The gauge of a value, as it was read last, by labels."""
        return self._gauges.get(objective.gauge, {})

    def left(self, objective: Ratio, model: ModelLabels, at_s: float) -> float | None:
        """The share of the objective's budget that is left to a model; None where nothing was counted."""
        steps = self._steps.get((objective.name, model))
        if steps is None:
            return None
        noted = steps.over(at_s - objective.period_s, at_s)
        if not noted.steps:
            return None
        return budget_left(noted.bad, noted.events / noted.steps, objective.budget, objective.period_s / self._step_s)

    def _take_step(self, at_s: float) -> None:
        self._stepped_s = at_s
        for (objective, model), shards in self._shards.items():
            if objective in self._ratios:
                self._note(objective, model, list(shards), at_s)
                for shard in shards:
                    self._note(objective, shard, [shard], at_s)
        self._forget(at_s)

    def _note(self, objective: str, labels: Labels, members: Sequence[ShardLabels], at_s: float) -> None:
        """What a shard's, or a model's, members counted in this step; nothing where they weren't read twice in it."""
        bad, events = (
            self._rise(objective, members, results, (at_s - self._step_s, at_s)) for results in ((BAD,), (GOOD, BAD))
        )
        if bad is None or events is None:
            return
        if (objective, labels) not in self._steps:
            self._steps[objective, labels] = self._no_steps(objective, labels)
        self._steps[objective, labels].append(at_s, events, bad)

    def _no_steps(self, objective: str, labels: Labels) -> StepSums:
        """Where a shard's, or a model's, steps are going to be noted."""
        period_s = self._ratios[objective].period_s
        return (
            StepSums(self._keep_steps_s) if isinstance(labels, ShardLabels) else StepSums(period_s, period_s / GRAINS)
        )

    def _forget(self, at_s: float) -> None:
        """Let go of counters, steps and shards that weren't read for as long as anything looks back on them."""
        for name in [name for name, history in self._counters.items() if history.is_past(at_s)]:
            del self._counters[name]
        for key in [key for key, steps in self._steps.items() if steps.is_past(at_s)]:
            del self._steps[key]
        for (objective, model), shards in list(self._shards.items()):
            for shard in list(shards):
                counted = any(Counter(objective, shard, result) in self._counters for result in (GOOD, BAD))
                if not counted and (objective, shard) not in self._steps:
                    del shards[shard]
            if not shards and (objective, model) not in self._steps:
                del self._shards[objective, model]

    def _rise(
        self, objective: str, shards: Iterable[ShardLabels], results: tuple[str, ...], span: tuple[float, float]
    ) -> float | None:
        """Summed over shards and results; None where nothing can be said."""
        counters = (self._counters.get(Counter(objective, labels, result)) for labels in shards for result in results)
        rises = [rise for one in counters if one is not None and (rise := one.increase(*span)) is not None]
        return sum(rises) if rises else None

    def _firing(self, objective: AnyObjective, at_s: float, silent: frozenset[str]) -> Iterator[Firing]:
        if isinstance(objective, Ratio):
            yield from (one for one in self._burning(objective, at_s) if not _is_silent(one.labels, silent))
        elif isinstance(objective, Zero):
            for model in self.models(objective.name):
                bad = self.bad(objective, model, at_s)
                if bad is not None and bad > 0:
                    yield Firing(objective.alert, objective.severity, model, bad)
        else:
            yield from self._out_of_bounds(objective, at_s, silent)

    def _of(self, objective: str) -> Iterator[tuple[ModelLabels, list[ShardLabels]]]:
        """The objective's models with their shards."""
        for (name, model), shards in self._shards.items():
            if name == objective:
                yield model, list(shards)

    def _burning(self, objective: Ratio, at_s: float) -> Iterator[Firing]:
        usable, _ = self._windows.of(objective)
        paging, ticketing = ([one for one in usable if one.severity == severity] for severity in ("page", "ticket"))
        for model, shards in self._of(objective.name):
            burning = next(self._burns(objective, paging, model, at_s), None)
            if burning is not None:
                yield Firing(objective.alert, "page", model, burning)
            for shard in shards:
                burning = next(self._burns(objective, ticketing, shard, at_s), None)
                if burning is not None:
                    yield Firing(objective.alert, "ticket", shard, burning)

    def _burns(self, objective: Ratio, windows: Iterable[Window], labels: Labels, at_s: float) -> Iterator[float]:
        """The burn over the long span of each window that fires."""
        for window in windows:
            over_long, over_short = (
                self._spent(objective, labels, span_s, at_s)
                if isinstance(labels, ModelLabels)
                else self._spent_in_steps(objective, labels, span_s, at_s)
                for span_s in (window.long_s, window.short_s)
            )
            if (
                over_long is not None and over_short is not None
                and over_long.burn > window.factor and over_short.burn > window.factor
                and over_long.events >= objective.least_events
                and (not window.only_at_risk or self._at_risk(objective, model_of(labels), over_long.burn, at_s))
            ):  # fmt: skip
                yield over_long.burn

    def _spent(self, objective: Ratio, model: ModelLabels, span_s: float, at_s: float) -> Spent | None:
        """Of a model, from the counters themselves."""
        shards, span = self._shards[objective.name, model], (at_s - span_s, at_s)
        bad, events = (self._rise(objective.name, shards, results, span) for results in ((BAD,), (GOOD, BAD)))
        return _spent(bad, events, objective.budget)

    def _spent_in_steps(self, objective: Ratio, shard: ShardLabels, span_s: float, at_s: float) -> Spent | None:
        """Of a shard, from what was noted each step."""
        steps = self._steps.get((objective.name, shard))
        if steps is None:
            return None
        noted = steps.over(at_s - span_s, at_s)
        return _spent(noted.bad, noted.events, objective.budget)

    def _at_risk(self, objective: Ratio, model: ModelLabels, rate: float, at_s: float) -> bool:
        left = self.left(objective, model, at_s)
        return left is not None and is_at_risk(left, rate, self._windows.at_risk, objective.period_s)

    def _out_of_bounds(self, objective: Value, at_s: float, silent: frozenset[str]) -> Iterator[Firing]:
        """Past the bound for so long, counted anew after maintenance."""
        loud = {labels: value for labels, value in self.gauge(objective).items() if not _is_silent(labels, silent)}
        out = {labels: value for labels, value in loud.items() if not KEPT[objective.op](value, objective.bound)}
        for labels in [at for name, at in self._out_since_s if name == objective.name and at not in out]:
            del self._out_since_s[objective.name, labels]
        for labels, value in out.items():
            if at_s - self._out_since_s.setdefault((objective.name, labels), at_s) >= objective.for_s:
                yield Firing(objective.alert, objective.severity, labels, value)


def model_of(labels: Labels) -> ModelLabels:
    """Return the label set of the model, whether ``labels`` are a model's or a shard's."""
    return labels.of_model if isinstance(labels, ShardLabels) else labels


def _is_silent(labels: Labels, silent: frozenset[str]) -> bool:
    """Whether its model, or every model, is maintained."""
    return bool(silent & {"", model_of(labels).model})


def _spent(bad: float | None, events: float | None, budget: float) -> Spent | None:
    if bad is None or events is None or (rate := burn(bad, events, budget)) is None:
        return None
    return Spent(rate, events)
