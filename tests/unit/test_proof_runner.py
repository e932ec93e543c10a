"""The pure parts of the runner of proofs: names, log, choice, budget, memory and report; and how a run ends."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.proofs import run as runner
from tests.support.proofs.runner import report
from tests.support.proofs.runner.execution import Form, Platforms, Result, run
from tests.support.proofs.runner.log import Entry, append, newest, read_entries
from tests.support.proofs.runner.memory import Memory
from tests.support.proofs.runner.old_names import read_old_names
from tests.support.proofs.runner.proof import Proof, declared, discover, select
from tests.support.proofs.runner.short_plan import (
    AIM_S,
    BUDGET_S,
    PLATFORM,
    ROUND,
    Costs,
    ShortPlan,
    plan_short_run,
    rotate,
)

OLD_NAMES = {"failover-6-kill-and-stop": "failover/kill-and-stop", "failover-6-beside": "failover/beside"}
LOG = """# Proofs, long forms

| date (UTC) | proof | holds | machine | commit | seconds | figure |
|---|---|---|---|---|---|---|
| 2026-11-24 12:48 | failover-6-kill-and-stop | yes | AMD EPYC, 2 cores | aaa | 685 | holds: max \\|difference\\| 2 |
| 2026-11-25 12:48 | failover/kill-and-stop | NO | AMD EPYC, 2 cores | bbb | 12 | BROKEN |
| 2026-11-25 13:48 | speed-10-http | yes | AMD EPYC, 2 cores | ccc | 984 | holds |
"""


def proof(name: str, needs: str | None = None) -> Proof:
    return Proof(Path("/tests/proofs") / name, ("README.md",), needs)


def executable(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)
    return file


def test_an_entry_under_an_old_name_counts_for_the_new_one() -> None:
    entries = read_entries(LOG, OLD_NAMES)
    assert [entry.proof for entry in entries] == ["failover/kill-and-stop", "failover/kill-and-stop", "speed-10-http"]
    assert entries[0].figure == "holds: max |difference| 2"
    assert newest(entries)["failover/kill-and-stop"].commit == "bbb"
    held = newest(entry for entry in entries if entry.holds)
    assert (held["failover/kill-and-stop"].commit, held["failover/kill-and-stop"].seconds) == ("aaa", 685.0)


def test_a_line_of_the_log_with_too_few_cells_is_refused() -> None:
    with pytest.raises(ValueError, match=r"6 cells instead of 7: .*failover"):
        read_entries(LOG + "| 2026-11-24 12:48 | failover/x | yes | AMD | ddd | 5 |\n", OLD_NAMES)


def test_an_appended_entry_is_read_back_as_it_was(tmp_path: Path) -> None:
    entry = Entry("2026-12-01 01:02", "exact/replay", False, "AMD, 2 cores", "eee", 7.0, "BROKEN: |x| > 1")
    append(tmp_path / "LOG.md", entry)
    append(tmp_path / "LOG.md", entry)
    assert read_entries((tmp_path / "LOG.md").read_text(), {}) == [entry, entry]


def test_old_names_are_read_from_the_table_alone() -> None:
    table = "# Title\n\nprose-1-text\n\n| old name | new name | what it shows |\n|---|---|---|\n"
    assert read_old_names(f"{table}| exact-3-kernel | exact/kernel | the same tokens |\n") == {
        "exact-3-kernel": "exact/kernel"
    }


@pytest.mark.parametrize(
    ("prefix", "expected", "note"),
    [
        ("failover", ["failover/kill-and-stop", "failover/beside"], None),
        ("failover/kill", ["failover/kill-and-stop"], None),
        ("kill", ["failover/kill-and-stop"], None),
        ("tests/proofs/exact/replay", ["exact/replay"], None),
        ("./tests/proofs/exact/", ["exact/replay"], None),
        (
            "failover-6-kill-and-stop",
            ["failover/kill-and-stop"],
            "failover-6-kill-and-stop is called failover/kill-and-",
        ),
        (
            "failover-6",
            ["failover/kill-and-stop", "failover/beside"],
            "failover-6-beside is called failover/beside now",
        ),
        ("nothing", [], "no proof's name begins with 'nothing'"),
        ("", [], "no proof's name begins with ''"),
    ],
)
def test_a_proof_is_selected_by_topic_or_name_old_or_new(prefix: str, expected: list[str], note: str | None) -> None:
    proofs = [proof("exact/replay"), proof("failover/kill-and-stop"), proof("failover/beside")]
    selection = select(proofs, [prefix], OLD_NAMES)
    assert sorted(one.name for one in selection.proofs) == sorted(expected)
    assert bool(selection.notes) == (note is not None)
    assert note is None or any(note in line for line in selection.notes)
    assert select(proofs, [], OLD_NAMES).proofs == proofs, "without a prefix, every one"


def test_declarations_add_up_and_differ_between_the_forms(tmp_path: Path) -> None:
    file = executable(
        tmp_path / "topic" / "what",
        "#!/usr/bin/env python3\n# paths: a b\n# paths: !a/c\n# needs: platform (short form)\n# minutes: 25\n",
    )
    assert declared(file, long=True) == Proof(file, ("a", "b", "!a/c"), None, 25)
    assert declared(file, long=False).needs == "observed", "short forms share one platform"
    plain = executable(tmp_path / "topic" / "plain", "#!/bin/sh\n# paths: a\n# needs: platform\n")
    assert (declared(plain, long=True).needs, declared(plain, long=True).minutes) == ("platform", 20)


def test_proofs_are_found_in_topics_and_those_on_a_platform_come_last(tmp_path: Path) -> None:
    executable(tmp_path / "b" / "alone", "#!/bin/sh\n")
    executable(tmp_path / "a" / "on-platform", "#!/bin/sh\n# needs: platform\n")
    executable(tmp_path / "a" / "observed", "#!/bin/sh\n# needs: observed\n")
    executable(tmp_path / "run.py", "")
    (tmp_path / "a" / "notes.md").write_text("")
    (tmp_path / "artefacts" / "console").mkdir(parents=True)
    assert [one.name for one in discover(tmp_path, long=True)] == ["b/alone", "a/on-platform", "a/observed"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 34, 35, 40])
def test_over_four_commits_each_proof_gets_its_turn(size: int) -> None:
    names = [f"p{number:02}" for number in range(size)]
    for first in (0, 453, 10**6):
        shares = [rotate(names, count)[1] for count in range(first, first + ROUND)]
        assert set().union(*shares) == set(names)
        assert max(map(len, shares)) <= size / ROUND + 1
        assert all(sorted(rotate(names, count)[0]) == names for count in range(first, first + ROUND))


def planned(names: Sequence[str], left_out: Sequence[str], changed: Sequence[str], costs: Costs) -> ShortPlan:
    return plan_short_run(names, left_out, lambda name: name in changed, 0, costs)


def test_what_was_left_out_comes_first_then_what_changed_then_a_share_of_the_rest() -> None:
    names = [f"p{number}" for number in range(8)]
    plan = planned(names, ["p7", "p5"], ["p6", "p1", "p5"], Costs({}, ()))
    assert list(plan.chosen) == ["p7", "p5", "p1", "p6", "p0"]
    assert plan.chosen["p5"] == "left out by an earlier run"
    assert plan.chosen["p6"] == "changed since its entry"
    assert plan.chosen["p0"] == "its turn at this commit"
    assert (plan.left_out, plan.later) == ({}, ["p2", "p3", "p4"])


def test_no_more_is_chosen_than_the_budget_has_room_for_and_the_reason_is_given() -> None:
    names = [f"p{number}" for number in range(8)]
    plan = planned(names, [], names, Costs({"p3": BUDGET_S - 100.0}, ()))
    assert list(plan.chosen) == ["p0", "p1", "p2", "p4", "p5", "p6", "p7"]
    assert plan.left_out == {
        "p3": "changed since its entry, but 120 s of 1800 s are taken and it is expected to take 1700 s"
    }


def test_the_start_of_the_platform_is_paid_once() -> None:
    costs = Costs({PLATFORM: BUDGET_S - 2 * AIM_S}, ("p0", "p1", "p2"))
    plan = planned(["p0", "p1", "p2"], [], ["p0", "p1", "p2"], costs)
    assert (list(plan.chosen), list(plan.left_out)) == (["p0", "p1"], ["p2"])


def test_what_doesnt_fit_into_one_run_is_run_by_the_next_ones(tmp_path: Path) -> None:
    names = [f"p{number:02}" for number in range(34)]
    costs, memory, ran = Costs(dict.fromkeys(names, 150.0), ()), Memory(tmp_path / "proofs.json"), list[str]()
    for _ in range(3):  # 12 fit into one
        plan = planned(names, memory.left_out, names, costs)
        memory.intend([*plan.chosen, *plan.left_out], names)
        for name in plan.chosen:
            memory.has_run(name, 150.0)
        ran += plan.chosen
    assert set(ran) == set(names)


def test_without_a_memory_another_commit_leaves_out_others() -> None:
    names = [f"p{number:02}" for number in range(34)]
    costs = Costs(dict.fromkeys(names, 150.0), ())
    plans = [plan_short_run(names, [], lambda _: True, count, costs) for count in range(ROUND)]
    assert set().union(*(plan.chosen for plan in plans)) == set(names)


def test_what_was_left_out_is_remembered_until_it_has_run(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "proofs.json")
    memory.intend(["a/x", "a/y"], ["a/x", "a/y", "a/z"])
    memory.has_run("a/x", 12.34)
    again = Memory(tmp_path / "proofs.json")
    assert (again.left_out, again.seconds) == (["a/y"], {"a/x": 12.3})
    again.intend(["a/z"], ["a/x", "a/z"])
    assert again.left_out == ["a/z"], "no proof is called a/y any more"
    again.has_run("a/z", 0.0)
    assert Memory(tmp_path / "proofs.json").seconds == {"a/x": 12.3}, "it didn't come to start"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"left_out": 3}', '{"left_out": [], "seconds": []}'])
def test_a_memory_that_cant_be_read_is_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / "proofs.json").write_text(text)
    memory = Memory(tmp_path / "proofs.json")
    assert (memory.left_out, memory.seconds) == ([], {})


def test_the_table_begins_with_what_took_longest_and_ends_with_the_total() -> None:
    results = [Result("a/quick", True, 3.0, "holds: x"), Result("a/slow", False, 71.4, "BROKEN: y")]
    lines = report.table(results, {PLATFORM: 40.0}).splitlines()
    assert [line.split("s ")[0].strip() for line in lines] == ["71", "40", "3", "114"]
    assert "DOES NOT HOLD" in lines[0] and lines[-1].endswith("in all")
    assert report.too_long(results[1], AIM_S) == ["a/slow took 71 s, should take at most 40 s"]
    assert report.too_long(results[0], AIM_S) == []


def test_what_wasnt_run_is_reported_loudly() -> None:
    assert report.not_run({}) == []
    lines = report.not_run({"a/x": "no time"})
    assert lines[1].startswith("NOT RUN FOR WANT OF TIME: 1 ") and "a/x  no time" in lines[2]


class FakeClock:
    """A monotonic clock that moves only when somebody says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


def run_fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, took_s: dict[str, float], costs: Costs | None) -> int:
    """Run short forms that take so long, the ones called broken don't hold; returns the exit status."""
    clock, proofs = FakeClock(), [proof(name) for name in took_s]

    @contextlib.contextmanager
    def no_platforms() -> Iterator[Platforms]:
        yield Platforms({})

    def run_one(proof: Proof, form: Form, _platforms: Platforms, _label: str) -> Result:
        assert form == Form("--short", 180.0)
        clock.now_s += took_s[proof.name]
        return Result(proof.name, "broken" not in proof.name, took_s[proof.name], "figure")

    monkeypatch.setattr(runner, "time", clock)
    monkeypatch.setattr(runner, "shared_platforms", no_platforms)
    monkeypatch.setattr(runner, "run_one", run_one)
    memory = Memory(tmp_path / "proofs.json")
    memory.intend(took_s, took_s)
    return runner.run_short_forms(proofs, ShortPlan(dict.fromkeys(took_s, "changed"), {}, []), memory, costs)


def test_what_the_time_doesnt_suffice_for_is_no_failure_and_comes_first_next_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    took_s = {"a/long": BUDGET_S - 30.0, "a/short": 20.0}
    assert run_fakes(monkeypatch, tmp_path, took_s, Costs({}, ())) == 0
    printed = capsys.readouterr().out
    assert "a/long took 1770 s, should take at most 40 s" in printed
    assert "NOT RUN FOR WANT OF TIME: 1 proofs" in printed and "1 of 1 proofs that ran hold" in printed
    assert Memory(tmp_path / "proofs.json").left_out == ["a/short"]


def test_all_short_forms_run_without_a_limit_for_the_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_fakes(monkeypatch, tmp_path, {"a/long": BUDGET_S, "a/short": 20.0}, None) == 0
    assert "NOT RUN" not in capsys.readouterr().out
    assert Memory(tmp_path / "proofs.json").left_out == []


def test_a_proof_that_doesnt_hold_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_fakes(monkeypatch, tmp_path, {"a/broken": 20.0, "a/short": 20.0}, Costs({}, ())) == 1
    assert "a/broken DOES NOT HOLD: figure" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "limit_s", "holds", "figure"),
    [
        ("echo first; echo holds: 3", 60.0, True, "holds: 3"),
        ("echo BROKEN: 3; exit 1", 60.0, False, "BROKEN: 3"),
        ("exit 3", 60.0, False, "printed nothing, exit 3"),
        ("echo waiting; exec sleep 600", 0.5, False, "ended after 0 s, its time being over"),
    ],
)
def test_a_form_holds_if_it_exits_0_in_time(
    tmp_path: Path, script: str, limit_s: float, holds: bool, figure: str
) -> None:
    file = executable(tmp_path / "topic" / "what", f"#!/bin/sh\n{script}\n")
    result = run(Proof(file, ("README.md",), None), Form("--short", limit_s), Platforms({}))
    assert (result.name, result.holds, result.figure) == ("topic/what", holds, figure)


def test_a_proof_whose_paths_arent_there_doesnt_hold(tmp_path: Path) -> None:
    file = executable(tmp_path / "topic" / "what", "#!/bin/sh\n")
    missing = run(Proof(file, ("README.md", "!no/such/path"), None), Form("--short", 60.0), Platforms({}))
    assert (missing.holds, missing.figure) == (False, "`# paths:` names what isn't there: !no/such/path")
    assert "nothing at all" in run(Proof(file, (), None), Form("--short", 60.0), Platforms({})).figure
