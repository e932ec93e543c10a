"""Makes the exposition of a few records of every kind, which the golden file must equal.

``python -m tests.support.golden_exposition`` writes the file again; `make gen` runs it.
"""

from pathlib import Path

from calmops.messages.record import Counted, Dropped, Record
from calmops.telemetry.exposition.prometheus import exposition
from calmops.telemetry.metering.counts import Counts
from calmops.telemetry.metering.fold import fold
from tests.support.telemetry_records import T0_NS, closed, envelopes, frame, opened

GOLDEN = Path(__file__).resolve().parents[1] / "unit" / "calmops" / "telemetry" / "exposition.golden.txt"


def sample_counts() -> Counts:
    """Return counts of a few records of every kind, one of them read twice."""
    records: list[Record] = [
        opened("a"), opened("b"), frame(1, gap_ns=None), frame(2), frame(3, sequences=1, gap_ns=120_000_000),
        closed("a", delivered=3), closed("b", outcome="timeout", delivered=2),
        Dropped(gateway_id="gw", at_ns=T0_NS, reason="ring_full", records=2, tokens=64),
        Counted(gateway_id="gw", model="m", at_ns=T0_NS, name="migrations", reason="silence", value=1),
    ]  # fmt: skip
    counts = Counts()
    for envelope in [*envelopes("gw", records), envelopes("gw", records)[0]]:
        fold(counts, envelope)
    return counts


def golden_text() -> str:
    """Return what the golden file must hold."""
    return exposition(sample_counts()).decode()


if __name__ == "__main__":
    GOLDEN.write_text(golden_text(), encoding="utf-8")
