"""What the meter's watch remembers over a restart."""

import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from calmops.foundation.clock import ManualClock
from calmops.objectives.evaluation import saved_sums
from calmops.watching.judgement import EVALUATE_S, Judgement
from tests.support.telemetry_records import closed
from tests.unit.calmops.watching.test_judgement import PROMISES, FoldedMeter, S, labelled, watched


def burning(watch: Judgement, meter: FoldedMeter, clock: ManualClock, minutes: int) -> Any:
    """A bad request in a hundred for so long; what is left of the budget then."""
    for _ in range(4 * minutes):
        meter.take(
            watch, *(labelled(closed("a", outcome="failed" if n == 0 else "completed"), shard=0) for n in range(100))
        )
        clock.advance(int(EVALUATE_S * S))
        watch.tick(meter)
    (left,) = (one["left"] for one in watch.state()["objectives"] if one["name"] == "request-success")
    return left


def test_a_meter_that_is_started_anew_still_knows_what_is_left_of_a_budget(tmp_path: Path) -> None:
    watch, meter, clock = watched()
    watch.remember_in(tmp_path / "memory")
    before, over = burning(watch, meter, clock, 30), threading.Event()
    over.set()
    watch.run(meter, over)
    anew = Judgement(None, None, None, clock=clock)
    anew.remember_in(tmp_path / "memory")
    anew.use(PROMISES)
    anew.tick(meter)
    assert before is not None and before < 1
    assert {one["left"] for one in anew.state()["objectives"] if one["name"] == "request-success"} == {before}


@pytest.mark.parametrize("broken", ["a folder", "another's"])
def test_a_memory_that_cant_be_read_costs_what_it_says_and_not_the_alerts(tmp_path: Path, broken: str) -> None:
    if broken == "a folder":
        (tmp_path / "memory").mkdir()
    else:
        (tmp_path / "memory").write_bytes(b"of another release")
    _, meter, clock = watched()
    watch = Judgement(None, None, None, clock=clock)
    watch.remember_in(tmp_path / "memory")
    watch.use(PROMISES)
    assert burning(watch, meter, clock, 5) is not None
    failures = {
        one.labels["part"]: one.value
        for family in text_string_to_metric_families(watch.metrics().decode())
        for one in family.samples
        if one.name == "calmops_watch_failures_total"
    }
    assert (failures["memory"] >= 1, failures["look"]) == (broken == "a folder", 0)
    assert (tmp_path / "memory").is_dir() or saved_sums.read(tmp_path / "memory"), "it is written anew"
