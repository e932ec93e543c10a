#!/usr/bin/env python3
"""Run the proofs, one after another, and say which hold.

What a proof is and what it declares: tests/support/proofs/runner/proof.py.

--short: what changed and a share of the rest, within 30 minutes for all of them together (short_plan.py); what the time
doesn't suffice for is printed last and comes first next time. Each should take at most 40 s, and one that takes longer
than 180 s doesn't hold. --all, or names, run without a limit for the whole.
--long: 20 minutes for each unless it declares more, from a clean checkout only; every result is added to LOG.md. What
still stands there (it held, and nothing changed since under its paths) is skipped, so that the same command goes on
with an interrupted run.
"""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT / "platform"), str(ROOT)]

from calmops.foundation import paths
from tests.support.proofs.runner import changes, report
from tests.support.proofs.runner.execution import Form, Platforms, Result, run, shared_platforms
from tests.support.proofs.runner.log import Entry, append, machine, newest, now, read_entries
from tests.support.proofs.runner.memory import Memory
from tests.support.proofs.runner.old_names import read_old_names
from tests.support.proofs.runner.proof import ORDER, Proof, discover, select
from tests.support.proofs.runner.short_plan import (
    AIM_S,
    LIMIT_S,
    PLATFORM,
    Costs,
    ShortPlan,
    does_not_fit,
    plan_short_run,
)

LOG = HERE / "LOG.md"
RENAMED = HERE / "renamed.md"


def main() -> int:
    """Run what was asked for; 0 only if every proof that ran holds."""
    arguments = parsed()
    old_names = read_old_names(RENAMED.read_text(encoding="utf-8"))
    proofs = discover(HERE, long=arguments.long)
    selection = select(proofs, arguments.names, old_names)
    print("".join(f"{note}\n" for note in selection.notes), end="", flush=True)
    if not selection.proofs:
        print("no proof was selected")
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the running proof and the platform end too
    entries = read_entries(LOG.read_text(encoding="utf-8"), old_names) if LOG.exists() else []
    if arguments.long:
        return run_long_forms(selection.proofs, {} if arguments.again else newest(entries))
    memory = Memory(paths.folder("state") / "proofs.json")
    costs = Costs(memory.seconds, {proof.name for proof in proofs if proof.needs is not None})
    limited = not (arguments.all or arguments.names)
    chosen = ShortPlan({proof.name: "asked for" for proof in selection.proofs}, {}, [])
    plan = planned(proofs, entries, memory.left_out, costs) if limited else chosen
    memory.intend([*plan.chosen, *plan.left_out] if limited else [], [proof.name for proof in proofs])
    return run_short_forms(
        [proof for proof in proofs if proof.name in plan.chosen], plan, memory, costs if limited else None
    )


def parsed() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--short", action="store_true")
    form.add_argument("--long", action="store_true")
    parser.add_argument("--all", action="store_true", help="every short form, however long all of them take")
    parser.add_argument(
        "--again",
        action="store_true",
        help="run also long forms that stand: if one was measured beside other work, say",
    )
    parser.add_argument("names", nargs="*", help="only the proofs whose name or topic begins with one of these")
    return parser.parse_args()


def planned(proofs: Sequence[Proof], entries: Sequence[Entry], left_out: Sequence[str], costs: Costs) -> ShortPlan:
    """Choose the short forms of this run, and say which and why."""
    held = newest(entry for entry in entries if entry.holds)
    by_name = {proof.name: proof for proof in proofs}

    def has_changed(name: str) -> bool:
        return name not in held or changes.has_changed(by_name[name], held[name].commit)

    plan = plan_short_run(list(by_name), left_out, has_changed, changes.commit_count(), costs)
    for name, reason in plan.chosen.items():
        print(f"  {name}: {reason}")
    print(f"{len(plan.chosen)} of {len(proofs)} short forms chosen; {len(plan.later)} are unchanged and come later\n")
    return plan


def run_short_forms(proofs: Sequence[Proof], plan: ShortPlan, memory: Memory, costs: Costs | None) -> int:
    """Run these short forms; 0 if all that ran hold. ``costs``: start none that the budget has no room for."""
    place = {name: number for number, name in enumerate(plan.chosen)}
    results, left_out, began_s = list[Result](), dict(plan.left_out), time.monotonic()
    with shared_platforms() as platforms:
        ordered = sorted(proofs, key=lambda proof: (ORDER.index(proof.needs), place[proof.name]))
        for number, proof in enumerate(ordered, 1):
            if costs is not None:
                cost_s = costs.of(proof.name, platform_runs=platforms.started(proof.needs))
                if why := does_not_fit(time.monotonic() - began_s, cost_s):
                    left_out[proof.name] = why
                    continue
            results.append(run_one(proof, Form("--short", LIMIT_S), platforms, f"[{number}/{len(ordered)}]"))
            memory.has_run(proof.name, results[-1].seconds)
        other_s = {PLATFORM: sum(platforms.start_s.values())} if platforms.start_s else {}
    if platforms.start_s:
        memory.has_run(PLATFORM, max(platforms.start_s.values()))
    warnings = [line for result in results for line in report.too_long(result, AIM_S)]
    return conclude(results, other_s, [*warnings, *report.not_run(left_out)])


def run_long_forms(proofs: Sequence[Proof], logged: dict[str, Entry]) -> int:
    """Run the long forms that don't stand in the log, and add each result to it; 0 if all hold."""
    if dirty := changes.uncommitted():
        print("the long form logs a commit, so everything must be committed first:\n" + "\n".join(dirty))
        return 1
    results = []
    with shared_platforms() as platforms:
        for number, proof in enumerate(proofs, 1):
            label, entry = f"[{number}/{len(proofs)}]", logged.get(proof.name)
            if entry is not None and entry.holds and proof.paths and not changes.has_changed(proof, entry.commit):
                figure = f"{entry.figure} (stands since {entry.date})"
                results.append(Result(proof.name, True, 0.0, figure, stands=True))
                print(f"{label} {proof.name} stands: {figure}", flush=True)
                continue
            result = run_one(proof, Form("--long", proof.minutes * 60.0), platforms, label)
            ended = (result.holds, machine(), changes.head(), result.seconds, result.figure)
            append(LOG, Entry(now(), proof.name, *ended))
            results.append(result)
    return conclude(results, {}, [])


def run_one(proof: Proof, form: Form, platforms: Platforms, label: str) -> Result:
    """Run one form and say how it ended."""
    print(f"{label} {proof.name} ...", flush=True)
    result = run(proof, form, platforms)
    print(result.last_lines, end="\n" if result.last_lines else "")
    print(f"    {report.verdict(result)} in {result.seconds:.0f} s: {result.figure}", flush=True)
    return result


def conclude(results: Sequence[Result], other_s: dict[str, float], closing: Sequence[str]) -> int:
    """Print the tables, failures and what must not be overlooked last; 0 if every result holds."""
    held = sum(result.holds for result in results)
    lines = [report.table(results, other_s), *report.failures(results), *closing]
    broken = [f"{result.name} DOES NOT HOLD: {result.figure}" for result in results if not result.holds]
    print("\n".join(["", *lines, *broken, f"{held} of {len(results)} proofs that ran hold"]))
    return 0 if held == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
