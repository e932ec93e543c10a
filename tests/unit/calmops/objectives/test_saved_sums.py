"""Tests that the embedded evaluator's sums outlive a restart of its meter."""

from pathlib import Path

import msgspec
import pytest

from calmops.foundation.model_labels import ShardLabels
from calmops.objectives.evaluation import saved_sums
from calmops.objectives.evaluation.evaluator import Evaluator
from calmops.objectives.promises.objective import Source
from calmops.objectives.promises.windows import Windows, read_windows
from tests.support.evaluator_traffic import DAY, HOUR, MODEL, Driven, Traffic, between, steady
from tests.support.openslo_documents import WINDOWS
from tests.unit.calmops.objectives.test_evaluator import SUCCESS

SHARD = ShardLabels(MODEL, "0")


@pytest.fixture(name="windows", scope="module")
def shipped_windows() -> Windows:
    return read_windows(WINDOWS)


def driven(windows: Windows) -> Driven:
    """Return an evaluator with a day of eight bad events in a hundred, after three days without."""
    return Driven(SUCCESS, windows, Traffic(steady(100), between(3 * DAY, 5 * DAY, 0.08)))


def test_budgets_and_tickets_go_on_after_a_restart_as_if_there_had_been_none(windows: Windows, tmp_path: Path) -> None:
    undisturbed, restarted = driven(windows).run(4 * DAY), driven(windows).run(4 * DAY - 2 * HOUR)
    saved_sums.write(tmp_path / "memory", restarted.evaluator.saved())
    restarted.evaluator = Evaluator([SUCCESS], windows)
    restarted.evaluator.resume(saved_sums.read(tmp_path / "memory"), 60.0 * restarted.minute)
    restarted.run(2 * HOUR)
    left, left_after = (
        one.evaluator.budget_left(SUCCESS, MODEL, 60.0 * one.minute) for one in (undisturbed, restarted)
    )
    assert left is not None and left_after == pytest.approx(left + 8 / 43200, abs=1e-9), (
        "except the minute of the restart, in which nothing was read twice"
    )
    assert 4 * DAY - 1 in undisturbed.minutes("ticket")
    assert 4 * DAY - 1 in restarted.minutes("ticket"), "it looks back a day, and was restarted two hours ago"
    assert restarted.evaluator.models("o") == [MODEL]


def test_sums_later_than_now_and_sums_of_other_events_are_left_out(windows: Windows) -> None:
    noted = driven(windows).run(HOUR).evaluator.saved()
    assert {one.labels for one in noted} == {MODEL, SHARD}
    earlier, other = (
        Evaluator([SUCCESS], windows),
        Evaluator([msgspec.structs.replace(SUCCESS, source=Source(events="tokenizations"))], windows),
    )
    earlier.resume(noted, 60.0 * HOUR / 2)
    assert {one.steps.times_s[-1] for one in earlier.saved()} == {60.0 * HOUR / 2}
    other.resume(noted, 60.0 * HOUR)
    assert other.saved() == [] == other.models("o")
    before = Evaluator([SUCCESS], windows)
    before.resume(noted, -1.0)
    assert before.saved() == [] == before.models("o")


def test_a_missing_file_and_one_of_another_format_give_no_sums(tmp_path: Path) -> None:
    assert saved_sums.read(tmp_path / "none") == []
    incomplete, negative = (
        ["o", {"events": "requests"}, SHARD, [[1.0], [1.0], bad, [steps], [0.0, 0.0, 0], 0.0]]
        for bad, steps in (([], 1), ([0.0], -1))
    )
    for body in (b"", b"\xc1", *(msgspec.msgpack.encode([one]) for one in (["o"], incomplete, negative))):
        (tmp_path / "odd").write_bytes(body)
        assert saved_sums.read(tmp_path / "odd") == []


def test_no_other_file_is_left_beside_the_sums(tmp_path: Path, windows: Windows) -> None:
    noted = driven(windows).run(10).evaluator.saved()
    for _ in range(2):
        saved_sums.write(tmp_path / "memory", noted)
    assert [path.name for path in tmp_path.iterdir()] == ["memory"]
    assert saved_sums.read(tmp_path / "memory") == noted
