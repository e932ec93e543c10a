"""Tests the meter's failures: it counts them and goes on, or says that it can't; and which records count as lost."""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from calmops.foundation.clock import ManualClock
from calmops.foundation.config_sections import KafkaConfig
from calmops.messages.record import SCHEMA
from calmops.telemetry.exposition.prometheus import exposition
from calmops.telemetry.log.codec import encode
from calmops.telemetry.log.positions import Positions
from calmops.telemetry.log.spool import Spool
from calmops.telemetry.metering.meter import LOOK_NS, Meter, MeterEnded
from calmops.telemetry.metering.source_progress import SILENT_NS, missing
from calmops.telemetry.settings import KafkaSettings, TelemetrySettings
from tests.integration.telemetry.test_meter import drain, write
from tests.support.telemetry_records import T0_NS, closed


def until(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait until ``holds()`` is true."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, f"still not so after {within_s} s"
        time.sleep(0.02)


class FailingLog:
    """Raises the given errors, one per read, and then returns one record."""

    def __init__(self, errors: list[BaseException]) -> None:
        self._errors = errors
        self._rows = [("p", 1, encode("gw", 1, closed("a")))]

    def read(self, positions: Positions, limit: int) -> list[tuple[str, int, bytes]]:
        if self._errors:
            raise self._errors.pop(0)
        rows, self._rows = self._rows[:limit], []
        return [row for row in rows if row[0] not in positions]

    def saved(self, positions: Positions) -> None:
        pass

    def close(self) -> None:
        pass


class Partition:
    """Stands in for one Kafka partition: a log that keeps its order."""

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = list(bodies)

    def read(self, positions: Positions, limit: int) -> list[tuple[str, int, bytes]]:
        first = positions.get("p", -1) + 1
        return [("p", offset, body) for offset, body in enumerate(self.bodies)][first : first + limit]

    def saved(self, positions: Positions) -> None:
        pass

    def close(self) -> None:
        pass


def from_kafka(tmp_path: Path, clock: ManualClock, *bodies: bytes) -> tuple[Meter, Partition]:
    """Return a meter that reads ``bodies`` from a partition and continues from its saved state."""
    meter = Meter(
        TelemetrySettings(folder=tmp_path, kafka=KafkaSettings(config=KafkaConfig(bootstrap_servers="-:1"))),
        tmp_path / "meter.db",
        clock,
    )
    meter._source = partition = Partition(*bodies)
    return meter, partition


def test_the_meter_reads_other_spools_beside_an_unreadable_one_and_tries_it_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spools = tmp_path / "spool"
    spools.mkdir()
    (spools / "broken.db").write_bytes(b"no database at all" * 100)
    write(spools, "good", 2)
    clock = ManualClock(T0_NS)
    meter = Meter(TelemetrySettings(folder=spools), tmp_path / "meter.db", clock)
    assert b"calmops_records_total 14.0" in drain(meter)
    assert meter.read_failures["spool_file"] == 1, "not tried again on each read"
    assert [record.name for record in caplog.records] == ["calmops.meter"]
    clock.advance(5 * 10**9)
    drain(meter)
    assert meter.read_failures["spool_file"] == 2
    (spools / "broken.db").unlink()
    write(spools, "broken", 1)
    clock.advance(5 * 10**9)
    assert b"calmops_records_total 21.0" in drain(meter)
    meter.stop()


def test_a_spool_that_fails_while_it_is_open_is_set_aside_for_a_while(tmp_path: Path) -> None:
    spools = tmp_path / "spool"
    spools.mkdir()
    for source in ("a", "b"):
        write(spools, source, 1)
    clock = ManualClock(T0_NS)
    meter = Meter(TelemetrySettings(folder=spools), tmp_path / "meter.db", clock)
    drain(meter)
    broken = Spool(spools / "a.db")
    broken._db.execute("ALTER TABLE records RENAME TO gone")
    write(spools, "b", 1)
    assert b"calmops_records_total 21.0" in drain(meter)
    assert meter.read_failures == {"log": 0, "spool_file": 1, "save": 0, "unexpected": 0}
    broken.close()
    meter.stop()


def test_every_failure_is_counted_and_the_thread_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spools = tmp_path / "spool"
    spools.mkdir()
    monkeypatch.setattr("calmops.telemetry.metering.meter.FAILED_S", 0.05)
    meter = Meter(TelemetrySettings(folder=spools), tmp_path / "meter.db")
    meter._source = FailingLog([ZeroDivisionError("a bug"), OSError("a disk"), KeyError("another")])
    meter.start()
    until(lambda: b"calmops_records_total 1.0" in meter.look(exposition))
    assert (meter.read_failures["unexpected"], meter.read_failures["log"]) == (2, 1)
    meter.check_health()
    meter.stop()
    meter.check_health()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_meter_whose_thread_has_ended_says_so(tmp_path: Path) -> None:
    meter = Meter(TelemetrySettings(folder=tmp_path), tmp_path / "state" / "meter.db")
    meter.check_health()
    meter._source = FailingLog([SystemExit()])
    meter.start()
    until(lambda: not meter._thread.is_alive())
    with pytest.raises(MeterEnded, match="stands still"):
        meter.check_health()
    meter.stop()


def test_a_record_that_cannot_be_counted_is_unreadable_and_the_next_one_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calmops.telemetry.metering.fold._fold_opened", lambda _model, _record: 1 / 0)
    spools = tmp_path / "spool"
    spools.mkdir()
    write(spools, "gw", 2)
    meter = Meter(TelemetrySettings(folder=spools), tmp_path / "meter.db")
    text = drain(meter)
    assert b"calmops_records_total 12.0" in text
    assert b"calmops_unreadable_records_total 2.0" in text
    assert meter.read_failures["unexpected"] == 2
    assert meter.look(lambda counts: counts.gaps + missing(counts)) == 0
    meter.stop()


def test_a_meter_that_cannot_save_goes_on_counting_and_marks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spools = tmp_path / "spool"
    spools.mkdir()
    write(spools, "gw", 1)
    meter = Meter(TelemetrySettings(folder=spools), tmp_path / "meter.db")
    with monkeypatch.context() as broken:
        broken.setattr(meter._store, "save", lambda *_: 1 / 0)
        assert b"calmops_records_total 7.0" in drain(meter)
    spool = Spool(spools / "gw.db")
    assert (meter.read_failures["save"], spool.mark("meter")) == (1, 0)
    write(spools, "gw", 1)
    drain(meter)
    assert spool.mark("meter") == 14
    spool.close()
    meter.stop()


def test_a_hole_left_by_a_gateway_that_is_gone_is_a_gap_after_an_hour_of_reading(tmp_path: Path) -> None:
    clock = ManualClock(T0_NS)
    meter, _ = from_kafka(tmp_path, clock, *(encode("gw", seq, closed("r")) for seq in (1, 4)))
    assert (meter.advance(), meter.look(missing)) == (2, 2)
    clock.advance(SILENT_NS - LOOK_NS)
    meter.advance()
    assert meter.look(missing) == 2
    clock.advance(2 * LOOK_NS)
    meter._reading_since_ns = clock.now_ns() - SILENT_NS + 1  # as after a failure: it may have missed records
    meter.advance()
    assert meter.look(missing) == 2
    clock.advance(SILENT_NS)
    assert meter.advance() == 0
    assert meter.look(lambda counts: (missing(counts), counts.gaps)) == (0, 2)
    meter.stop()
    resumed, _ = from_kafka(tmp_path, clock)
    assert resumed.look(lambda counts: counts.gaps) == 2, "it was saved"
    resumed.stop()


def test_a_record_of_another_release_is_unreadable_once_and_garbage_shows_as_a_gap(tmp_path: Path) -> None:
    newer = msgspec.msgpack.encode(["calmops.telemetry/2", "gw", 2, {"type": "new"}])
    misfit = msgspec.msgpack.encode([SCHEMA, "gw", 3, {"type": "closed"}])
    bodies = [encode("gw", 1, closed("r")), newer, misfit, newer, b"junk", encode("gw", 5, closed("r"))]
    meter, _ = from_kafka(tmp_path, ManualClock(T0_NS), *bodies)
    meter.advance()
    seen = meter.look(
        lambda counts: (counts.unreadable, counts.misread, counts.duplicates, counts.folded, missing(counts))
    )
    assert seen == (3, 2, 1, 2, 1)
    meter.stop()


def test_a_rebuilding_meter_counts_no_gap_before_a_source_s_first_record_even_if_it_is_unreadable(
    tmp_path: Path,
) -> None:
    misfit = msgspec.msgpack.encode([SCHEMA, "gw", 7, {"type": "closed"}])
    meter, _ = from_kafka(
        tmp_path, ManualClock(T0_NS), misfit, encode("gw", 8, closed("r")), encode("other", 90, closed("r"))
    )
    meter.advance()
    assert meter.look(lambda counts: (counts.misread, counts.folded, counts.gaps, missing(counts))) == (1, 2, 0, 0)
    meter.stop()
