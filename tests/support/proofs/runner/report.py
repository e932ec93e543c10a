"""Write what a person reads at the end of a run: what took the time, what doesn't hold, and what wasn't run."""

from collections.abc import Mapping, Sequence

from tests.support.proofs.runner.execution import Result


def verdict(result: Result) -> str:
    """Return in words how a form ended."""
    return "stands" if result.stands else "holds" if result.holds else "DOES NOT HOLD"


def table(results: Sequence[Result], other_s: Mapping[str, float]) -> str:
    """Return a table of what took the time, slowest first, with the total. ``other_s``: what isn't a proof."""
    rows = [(result.seconds, result.name, verdict(result), result.figure) for result in results]
    rows += [(seconds, name, "", "") for name, seconds in other_s.items()]
    width = max((len(name) for _, name, _, _ in rows), default=0)
    lines = [
        f"{seconds:6.0f} s  {name:<{width}}  {how:<13}  {figure}".rstrip()
        for seconds, name, how, figure in sorted(rows, reverse=True)
    ]
    return "\n".join([*lines, f"{sum(row[0] for row in rows):6.0f} s  in all"])


def too_long(result: Result, aim_s: float) -> list[str]:
    """Return a warning if a form took longer than it should."""
    if result.seconds <= aim_s:
        return []
    return [f"{result.name} took {result.seconds:.0f} s, should take at most {aim_s:.0f} s"]


def failures(results: Sequence[Result]) -> list[str]:
    """Return the last lines of each that doesn't hold."""
    return [f"{result.name} printed last:\n{result.last_lines}" for result in results if result.last_lines]


def not_run(left_out: Mapping[str, str]) -> list[str]:
    """Return, loudly, what wasn't run for want of time."""
    if not left_out:
        return []
    width = max(map(len, left_out))
    lines = [f"  {name:<{width}}  {why}" for name, why in left_out.items()]
    head = f"NOT RUN FOR WANT OF TIME: {len(left_out)} proofs, which come first next time (`make prove ALL=1` runs all)"
    return ["!" * len(head), head, *lines, "!" * len(head)]
