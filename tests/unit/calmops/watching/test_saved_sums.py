"""The watcher remembers the evaluator's sums over a restart."""

import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from calmops.foundation.clock import ManualClock
from calmops.objectives.evaluation import saved_sums
from calmops.watching.judgement import EVALUATE_S
from calmops.watching.watcher import Watcher
from tests.support.telemetry_records import closed
from tests.support.watched_meter import PROMISES, FoldedMeter, S, labelled, watched


def burning(watcher: Watcher, meter: FoldedMeter, clock: ManualClock, minutes: int) -> Any:
    """Have one request in a hundred fail for so long; return what is left of the budget then."""
    for _ in range(4 * minutes):
        meter.take(
            watcher, *(labelled(closed("a", outcome="failed" if n == 0 else "completed"), shard=0) for n in range(100))
        )
        clock.advance(int(EVALUATE_S * S))
        watcher.tick(meter)
    (left,) = budgets_left(watcher)
    return left


def budgets_left(watcher: Watcher) -> list[Any]:
    """Return what is left of the budget of request-success, by label set."""
    objectives = watcher.state()["objectives"]
    return [objective["left"] for objective in objectives if objective["name"] == "request-success"]


def test_a_meter_that_is_started_again_still_knows_what_is_left_of_a_budget(tmp_path: Path) -> None:
    watcher, meter, clock = watched()
    watcher.remember_in(tmp_path / "memory")
    before, over = burning(watcher, meter, clock, 30), threading.Event()
    over.set()
    watcher.run(meter, over)
    restarted = Watcher(clock=clock)
    restarted.remember_in(tmp_path / "memory")
    restarted.use(PROMISES)
    restarted.tick(meter)
    assert before is not None and before < 1
    assert set(budgets_left(restarted)) == {before}


@pytest.mark.parametrize("broken", ["a folder", "another's"])
def test_saved_sums_that_cant_be_read_are_missing_and_the_alerts_go_on(tmp_path: Path, broken: str) -> None:
    if broken == "a folder":
        (tmp_path / "memory").mkdir()
    else:
        (tmp_path / "memory").write_bytes(b"of another release")
    _, meter, clock = watched()
    watcher = Watcher(clock=clock)
    watcher.remember_in(tmp_path / "memory")
    watcher.use(PROMISES)
    assert burning(watcher, meter, clock, 5) is not None
    failures = {
        sample.labels["part"]: sample.value
        for family in text_string_to_metric_families(watcher.metrics().decode())
        for sample in family.samples
        if sample.name == "calmops_watch_failures_total"
    }
    assert (failures["memory"] >= 1, failures["look"]) == (broken == "a folder", 0)
    assert (tmp_path / "memory").is_dir() or saved_sums.read(tmp_path / "memory"), "it is written again"
