"""Judges the alerts where no Prometheus runs, with the mathematics of objectives/rules, on the meter's own counters.

``read`` takes one reading, ``evaluate`` returns what fires. The spans of pages are read off the counters themselves.
The events of each step are noted, and the longer spans of tickets and budgets are summed from those notes. Each is kept
as long as something looks back on it: a shard's steps for a ticket's spans, a model's for its budget's period, a zero's
not at all. Knows neither the meter nor who is informed.
"""

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from calmops.foundation.metric_names import BAD, GOOD
from calmops.foundation.model_labels import ModelLabels, ShardLabels
from calmops.objectives.evaluation.burn import budget_left, burn_rate, is_at_risk
from calmops.objectives.evaluation.event_counters import Counter
from calmops.objectives.evaluation.history import CounterHistory, StepSums
from calmops.objectives.evaluation.saved_sums import SavedSums
from calmops.objectives.promises.objective import AnyObjective, Ratio, Severity, Value, Zero
from calmops.objectives.promises.windows import Window, Windows
from calmops.objectives.rules.series import STEP_S, ZERO_S

Labels = ModelLabels | ShardLabels
Gauges = Mapping[str, Mapping[ModelLabels, float]]  # by the gauge's name
GRAINS = 720  # parts of a budget's period that leave it as a whole: an hour of 30 days
KEPT = {"lt": operator.lt, "lte": operator.le, "gt": operator.gt, "gte": operator.ge}


class Firing(NamedTuple):
    """Describes one alert that fires. ``labels``: a shard's for a ticket, a model's for a page."""

    alert: str
    severity: Severity
    labels: Labels
    value: float  # the burn rate over the long span, the number of bad events, or the gauge


class SpanBurn(NamedTuple):
    """Holds the burn rate over a span, and how many events there were in it."""

    rate: float
    events: float


class Evaluator:
    """Owns what it read. It keeps as much as the longest span needs, and drops what wasn't read for as long as that."""

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
        # By objective and label set; the inner keys of _shards are an ordered set.
        self._steps: dict[tuple[str, Labels], StepSums] = {}
        self._shards: dict[tuple[str, ModelLabels], dict[ShardLabels, None]] = {}
        self._gauges: Gauges = {}
        self._out_since_s: dict[tuple[str, ModelLabels], float] = {}
        self._stepped_s = float("-inf")

    def read(self, at_s: float, counters: Mapping[Counter, float], gauges: Gauges) -> None:
        """Take one reading, later than the last."""
        for counter, value in counters.items():
            if counter not in self._counters:
                self._counters[counter] = CounterHistory(self._keep_s[counter.objective])
                self._shards.setdefault((counter.objective, counter.labels.of_model), {})[counter.labels] = None
            self._counters[counter].append(at_s, value)
        self._gauges = gauges

    def evaluate(self, at_s: float, maintained: Iterable[str] = ()) -> list[Firing]:
        """Return what fires now. For ``maintained`` models only a zero's alert fires; an empty name stands for all."""
        if at_s - self._stepped_s >= self._step_s:
            self._take_step(at_s)
        silent = frozenset(maintained)
        return [firing for objective in self._objectives for firing in self._firing(objective, at_s, silent)]

    def saved(self) -> list[SavedSums]:
        """Return the step sums, on which budgets and tickets look back, for the evaluator that comes after this one."""
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

    def resume(self, saved: Iterable[SavedSums], now_s: float) -> None:
        """Continue from saved sums before anything is read, where an objective still counts the same events.

        Pages have nothing to look back on yet.
        """
        for sums in saved:
            objective = self._ratios.get(sums.objective)
            if objective is None or objective.source != sums.source:
                continue
            steps = self._new_steps(sums.objective, sums.labels)
            steps.resume(sums.steps, now_s)
            if steps:
                self._steps[sums.objective, sums.labels] = steps
                shards = self._shards.setdefault((sums.objective, sums.model), {})
                if isinstance(sums.labels, ShardLabels):
                    shards[sums.labels] = None

    def models(self, objective: str) -> list[ModelLabels]:
        """Return the models for which the objective counted something."""
        return [model for name, model in self._shards if name == objective]

    def burn_rate(self, objective: Ratio, model: ModelLabels, span_s: float, at_s: float) -> float | None:
        """Return a model's burn rate over a span no longer than a page looks back; None without events."""
        burnt = self._model_burn(objective, model, span_s, at_s)
        return burnt.rate if burnt else None

    def bad_events(self, objective: Zero, model: ModelLabels, at_s: float) -> float | None:
        """Return how many bad events keep a zero's alert firing; None before the second reading."""
        return self._rise(objective.name, self._shards[objective.name, model], (BAD,), (at_s - ZERO_S, at_s))

    def gauge(self, objective: Value) -> Mapping[ModelLabels, float]:
        """Return the gauge of a value, as it was read last, by label set."""
        return self._gauges.get(objective.gauge, {})

    def budget_left(self, objective: Ratio, model: ModelLabels, at_s: float) -> float | None:
        """Return the share of the objective's budget that is left to a model; None if nothing was counted."""
        steps = self._steps.get((objective.name, model))
        if steps is None:
            return None
        sums = steps.over(at_s - objective.period_s, at_s)
        if not sums.steps:
            return None
        return budget_left(sums.bad, sums.events / sums.steps, objective.budget, objective.period_s / self._step_s)

    def _take_step(self, at_s: float) -> None:
        self._stepped_s = at_s
        for (objective, model), shards in self._shards.items():
            if objective in self._ratios:
                self._note(objective, model, list(shards), at_s)
                for shard in shards:
                    self._note(objective, shard, [shard], at_s)
        self._forget(at_s)

    def _note(self, objective: str, labels: Labels, members: Sequence[ShardLabels], at_s: float) -> None:
        """Note what the members of a shard or a model counted in this step, if they were read at least twice in it."""
        bad, events = (
            self._rise(objective, members, results, (at_s - self._step_s, at_s)) for results in ((BAD,), (GOOD, BAD))
        )
        if bad is None or events is None:
            return
        if (objective, labels) not in self._steps:
            self._steps[objective, labels] = self._new_steps(objective, labels)
        self._steps[objective, labels].append(at_s, events, bad)

    def _new_steps(self, objective: str, labels: Labels) -> StepSums:
        """Return empty step sums for a shard or a model."""
        if isinstance(labels, ShardLabels):
            return StepSums(self._keep_steps_s)
        period_s = self._ratios[objective].period_s
        return StepSums(period_s, period_s / GRAINS)

    def _forget(self, at_s: float) -> None:
        """Drop counters, steps and shards that weren't read for as long as anything looks back on them."""
        for counter in [counter for counter, history in self._counters.items() if history.is_past(at_s)]:
            del self._counters[counter]
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
        """Return the rise over a span, summed over shards and results; None if no counter has two samples in it."""
        counters = (self._counters.get(Counter(objective, labels, result)) for labels in shards for result in results)
        rises = [rise for one in counters if one is not None and (rise := one.increase(*span)) is not None]
        return sum(rises) if rises else None

    def _firing(self, objective: AnyObjective, at_s: float, silent: frozenset[str]) -> Iterator[Firing]:
        if isinstance(objective, Ratio):
            yield from (firing for firing in self._burning(objective, at_s) if not _is_silent(firing.labels, silent))
        elif isinstance(objective, Zero):
            for model in self.models(objective.name):
                bad = self.bad_events(objective, model, at_s)
                if bad is not None and bad > 0:
                    yield Firing(objective.alert, objective.severity, model, bad)
        else:
            yield from self._out_of_bounds(objective, at_s, silent)

    def _burning(self, objective: Ratio, at_s: float) -> Iterator[Firing]:
        usable, _ = self._windows.of(objective)
        paging, ticketing = ([one for one in usable if one.severity == severity] for severity in ("page", "ticket"))
        for model in self.models(objective.name):
            rate = next(self._burn_rates(objective, paging, model, at_s), None)
            if rate is not None:
                yield Firing(objective.alert, "page", model, rate)
            for shard in list(self._shards[objective.name, model]):
                rate = next(self._burn_rates(objective, ticketing, shard, at_s), None)
                if rate is not None:
                    yield Firing(objective.alert, "ticket", shard, rate)

    def _burn_rates(self, objective: Ratio, windows: Iterable[Window], labels: Labels, at_s: float) -> Iterator[float]:
        """Yield the burn rate over the long span of each window that fires."""
        for window in windows:
            over_long, over_short = (
                self._model_burn(objective, labels, span_s, at_s)
                if isinstance(labels, ModelLabels)
                else self._shard_burn(objective, labels, span_s, at_s)
                for span_s in (window.long_s, window.short_s)
            )
            if (
                over_long is not None and over_short is not None
                and over_long.rate > window.factor and over_short.rate > window.factor
                and over_long.events >= objective.least_events
                and (not window.only_at_risk or self._at_risk(objective, model_of(labels), over_long.rate, at_s))
            ):  # fmt: skip
                yield over_long.rate

    def _model_burn(self, objective: Ratio, model: ModelLabels, span_s: float, at_s: float) -> SpanBurn | None:
        """Return a model's burn over a span, from the counters themselves; None without events."""
        shards, span = self._shards[objective.name, model], (at_s - span_s, at_s)
        bad, events = (self._rise(objective.name, shards, results, span) for results in ((BAD,), (GOOD, BAD)))
        return _span_burn(bad, events, objective.budget)

    def _shard_burn(self, objective: Ratio, shard: ShardLabels, span_s: float, at_s: float) -> SpanBurn | None:
        """Return a shard's burn over a span, from the sums of its steps; None without events."""
        steps = self._steps.get((objective.name, shard))
        if steps is None:
            return None
        sums = steps.over(at_s - span_s, at_s)
        return _span_burn(sums.bad, sums.events, objective.budget)

    def _at_risk(self, objective: Ratio, model: ModelLabels, rate: float, at_s: float) -> bool:
        left = self.budget_left(objective, model, at_s)
        return left is not None and is_at_risk(left, rate, self._windows.at_risk, objective.period_s)

    def _out_of_bounds(self, objective: Value, at_s: float, silent: frozenset[str]) -> Iterator[Firing]:
        """Yield what has been out of bounds for ``for_s``; that time begins again after maintenance."""
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
    """Return whether the labels' model, or every model, is under maintenance."""
    return bool(silent & {"", model_of(labels).model})


def _span_burn(bad: float | None, events: float | None, budget: float) -> SpanBurn | None:
    if bad is None or events is None or (rate := burn_rate(bad, events, budget)) is None:
        return None
    return SpanBurn(rate, events)
