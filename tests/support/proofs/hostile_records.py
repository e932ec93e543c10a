"""Make records with hostile values of every label, so many that each cap of the meter is reached; and tame copies."""

from collections.abc import Iterator

from msgspec.structs import replace

from calmops.foundation.metric_names import EVENTS
from calmops.messages.record import Counted, Dropped, Record, Reported
from tests.support.telemetry_records import closed, frame, opened

SIDE = 71  # models x versions: 71 x 71 combinations
ODD = (
    'quo"te', "new\nline", "back\\slash", 'both\\"', "\\n", "трижды моделью 🜁", '{a="b"} 1',
    " spaces\tand a tab ", "carriage\rreturn", "# TYPE x counter", "other", "none", "NaN", "line\u2028separator",
    "nul\x00", ",", "\\",
)  # fmt: skip
LONG = "x" * 1000


def value(kind: str, number: int) -> str:
    """Return a hostile value, another one for each number."""
    return ODD[number] if number < len(ODD) else f"{ODD[number % len(ODD)]}{kind}{number}"


def hostile(values: int, at_ns: int) -> Iterator[Record]:
    """Yield some under labels that are all new, some under one new label, some under a new pair.

    ``values``: how many each label gets, 7,000 reach every cap; ``at_ns``: the wall clock of all of them.
    """
    for number in range(values):
        fresh = [value(kind, number) for kind in ("m", "v", "x", "t", "e")]
        ended = closed(f"a{number}", delivered=2, at_ns=at_ns, outcome="completed" if number % 2 else "timeout")
        yield replace(
            ended,
            model=fresh[0],
            labels=tuple(fresh[1:]),
            ttft_ns=5_000_000_000 if number % 7 == 0 else ended.ttft_ns,
        )
        one_new = [fresh[place] if place == number % 5 else f"one-{place}" for place in range(5)]
        yield replace(opened(f"b{number}", at_ns=at_ns), model=one_new[0], labels=tuple(one_new[1:]))
        yield from _under_a_pair(number, at_ns)
        if number % 5 == 0:
            yield from _from_elsewhere(number, at_ns)


def _under_a_pair(number: int, at_ns: int) -> Iterator[Record]:
    """Yield a step of a new shard and a request under one of the pairs, and events with new reasons."""
    step = frame(number + 1, sequences=1, gang_id=f"g{number}", gap_ns=400_000_000 if number % 4 == 0 else 10_000_000)
    ended = closed(f"c{number}", delivered=1, at_ns=at_ns, outcome="length" if number % 3 else "failed")
    model, labels = _pair(number % SIDE, (number % SIDE + number // SIDE) % SIDE)
    yield replace(step, model=model, labels=labels, shard=number, at_ns=at_ns)
    yield replace(ended, model=model, labels=labels, shard=number if number % 4 == 0 else -1)
    for event in range(3 * number, 3 * number + 3):
        model, labels = _pair(event % SIDE, event % SIDE)
        name = EVENTS[event // SIDE % len(EVENTS)]
        yield Counted(
            gateway_id="gw", model=model, at_ns=at_ns, name=name, reason=value("because", event), value=2, labels=labels
        )


def _pair(model: int, version: int) -> tuple[str, tuple[str, ...]]:
    """Return one of the combinations; an empty value and one of a thousand characters are among them."""
    named = value("q", version)
    return value("p", model), (LONG if named == "none" else named, "" if model % 3 else "stable", "base", "")


def _from_elsewhere(number: int, at_ns: int) -> Iterator[Record]:
    """Yield events and reports with new names and reasons under labels that are well known."""
    labels = ("1", "stable", "base", "production")
    yield Counted(
        gateway_id="gw",
        model="m",
        at_ns=at_ns,
        name="tokenization_errors",
        reason=value("because", number),
        value=2,
        labels=labels,
    )
    yield Counted(
        gateway_id="gw", model="m", at_ns=at_ns, name=value("event", number), reason=LONG, value=1, labels=labels
    )
    yield Reported(
        gateway_id="gw", model=value("m", number), at_ns=at_ns, name="pii_scans", good=3, bad=1, labels=labels
    )
    yield Reported(gateway_id="gw", model="m", at_ns=at_ns, name=value("report", number), good=1, bad=1, labels=labels)
    yield Dropped(gateway_id="gw", at_ns=at_ns, reason=value("reason", number), records=1, tokens=1)


def tame(values: int, at_ns: int) -> Iterator[Record]:
    """Yield records with the same numbers under one set of labels."""
    ours = {"model": "m", "labels": (), "shard": 0, "reason": "x"}
    for record in hostile(values, at_ns):
        yield replace(record, **{name: value for name, value in ours.items() if name in record.__struct_fields__})
