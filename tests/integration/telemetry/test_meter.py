"""Tests the meter on real spools: one at a time, the same numbers after a kill, rebuilt without its state."""

import os
import signal
import time
from pathlib import Path

import pytest

from calmops.foundation.errors import SetupError
from calmops.messages.record import Record
from calmops.telemetry.exposition.prometheus import exposition
from calmops.telemetry.log.spool import Spool, SpoolLease, remove_spool
from calmops.telemetry.metering.meter import Meter
from calmops.telemetry.metering.source_progress import missing
from calmops.telemetry.settings import TelemetrySettings
from tests.support.killable_process import python_process
from tests.support.telemetry_records import T0_NS, closed, frame, opened


def write(folder: Path, source: str, requests: int) -> None:
    """Append the records of ``requests`` requests to a gateway's spool."""
    spool = Spool(folder / f"{source}.db")
    for number in range(requests):
        name = f"{source}-{number}"
        records: list[Record] = [
            opened(name),
            *(frame(number * 5 + s, gang_id=source) for s in range(1, 6)),
            closed(name),
        ]
        spool.append(records, T0_NS)
    spool.close()


def drain(meter: Meter) -> bytes:
    """Let the meter read everything; return what it shows."""
    while meter.advance():
        pass
    return meter.look(exposition)


def test_a_meter_that_was_killed_and_resumed_shows_the_numbers_of_an_undisturbed_one(tmp_path: Path) -> None:
    spools = tmp_path / "spool"
    settings = TelemetrySettings(folder=spools)
    settings.spool_folder()
    for source in ("gw-a", "gw-b"):
        write(spools, source, 600)
    program = (
        "import sys; from pathlib import Path; import calmops.telemetry.metering.meter as m\n"
        "from calmops.telemetry.settings import TelemetrySettings\n"
        "m.BATCH_RECORDS = 50\n"
        f"meter = m.Meter(TelemetrySettings(folder=Path({str(spools)!r})), Path({str(tmp_path / 'meter.db')!r}))\n"
        "meter.start(); print('started', flush=True); sys.stdin.read()"
    )
    for delay_s in (0.0, 0.02, 0.05, 0.09):
        with python_process(program) as victim:
            assert victim.stdout is not None
            assert victim.stdout.readline() == b"started\n"
            time.sleep(delay_s)
            os.kill(victim.pid, signal.SIGKILL)
    resumed = Meter(settings, tmp_path / "meter.db")
    fresh = Meter(settings, tmp_path / "other.db")
    assert resumed.rebuilt is False
    assert drain(resumed) == drain(fresh)
    assert b"calmops_records_total 8400.0" in fresh.look(exposition)
    for meter in (resumed, fresh):
        meter.stop()


def test_a_second_meter_on_the_same_state_is_refused(tmp_path: Path) -> None:
    settings = TelemetrySettings(folder=tmp_path / "spool")
    meter = Meter(settings, tmp_path / "meter.db")
    with pytest.raises(SetupError, match="another meter is active"):
        Meter(settings, tmp_path / "meter.db")
    meter.stop()
    Meter(settings, tmp_path / "meter.db").stop()


def test_a_meter_without_its_state_rebuilds_from_the_earliest_retained_record_and_says_since_when(
    tmp_path: Path,
) -> None:
    spools = tmp_path / "spool"
    spools.mkdir()
    spool = Spool(spools / "gw.db")
    spool.append([closed("old", at_ns=T0_NS)], T0_NS)
    spool.append([closed("new", at_ns=T0_NS + 60_000_000_000)], T0_NS + 60_000_000_000)
    spool.advance("meter", 2)
    spool.prune("meter", T0_NS + 1, keep_bytes=1 << 30)
    meter = Meter(TelemetrySettings(folder=spools), tmp_path / "meter.db")
    text = drain(meter).decode()
    assert meter.rebuilt
    assert meter.look(lambda counts: counts.since_ns) == T0_NS + 60_000_000_000
    assert (
        'calmops_requests_total{environment="",model="m",outcome="completed",tier="",variant="",version=""} 1.0' in text
    )
    assert "calmops_record_gaps_total 0.0" in text, "the deleted record had been counted: nothing is lost"
    meter.stop()
    spool._db.execute("DELETE FROM records")
    spool.append([closed("later", at_ns=T0_NS)] * 3, T0_NS)
    spool._db.execute("DELETE FROM records WHERE seq = 3")
    resumed = Meter(TelemetrySettings(folder=spools), tmp_path / "meter.db")
    assert b"calmops_record_gaps_total 1.0" in drain(resumed)
    resumed.stop()
    spool.close()


def test_a_hole_at_the_start_of_a_source_that_began_after_the_meter_is_a_gap(tmp_path: Path) -> None:
    spools = tmp_path / "spool"
    spools.mkdir()
    spool = Spool(spools / "gw.db")
    spool.append([closed("r", at_ns=time.time_ns() + 10**12)] * 3, T0_NS)
    spool._db.execute("DELETE FROM records WHERE seq < 3")
    meter = Meter(TelemetrySettings(folder=spools), tmp_path / "meter.db")
    assert b"calmops_record_gaps_total 2.0" in drain(meter)
    meter.stop()
    spool.close()


def test_a_hole_in_a_spool_is_reported_as_lost(tmp_path: Path) -> None:
    spools = tmp_path / "spool"
    spools.mkdir()
    spool = Spool(spools / "gw.db")
    spool.append([frame(step) for step in range(1, 11)], T0_NS)
    spool._db.execute("DELETE FROM records WHERE seq IN (4, 5, 9)")
    meter = Meter(TelemetrySettings(folder=spools), tmp_path / "meter.db")
    text = drain(meter)
    assert b"calmops_record_gaps_total 3.0" in text
    assert b"calmops_records_total 7.0" in text
    meter.stop()
    spool.close()


def test_garbage_in_the_log_is_counted_and_skipped(tmp_path: Path) -> None:
    spools = tmp_path / "spool"
    spools.mkdir()
    spool = Spool(spools / "gw.db")
    spool.append([frame(1), frame(2), frame(3)], T0_NS)
    spool._db.execute("UPDATE records SET body = x'c1c1' WHERE seq = 2")
    meter = Meter(TelemetrySettings(folder=spools), tmp_path / "meter.db")
    text = drain(meter)
    assert b"calmops_unreadable_records_total 1.0" in text
    assert b"calmops_records_total 2.0" in text
    assert b"calmops_record_gaps_total 0.0" in text, "it is counted once, as unreadable"
    assert meter.look(lambda counts: (counts.misread, missing(counts))) == (1, 0)
    meter.stop()
    spool.close()


def test_the_meter_marks_what_it_has_saved_so_that_the_spool_may_delete_it(tmp_path: Path) -> None:
    spools = tmp_path / "spool"
    spools.mkdir()
    write(spools, "gw", 3)
    meter = Meter(TelemetrySettings(folder=spools), tmp_path / "meter.db")
    drain(meter)
    spool = Spool(spools / "gw.db")
    assert spool.mark("meter") == spool.last_seq == 21
    spool.close()
    meter.stop()


def test_the_meter_reads_new_spools_and_closes_deleted_ones_and_counts_nothing_twice(tmp_path: Path) -> None:
    spools = tmp_path / "spool"
    spools.mkdir()
    write(spools, "gw-a", 2)
    meter = Meter(TelemetrySettings(folder=spools), tmp_path / "meter.db")
    before = drain(meter)
    lease = SpoolLease(spools / "gw-a.db")
    assert lease.acquire()
    remove_spool(spools / "gw-a.db")
    lease.release()
    assert drain(meter) == before
    write(spools, "gw-b", 1)
    assert b"calmops_records_total 21.0" in drain(meter)
    meter.stop()


def test_a_busy_spool_does_not_keep_the_meter_from_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calmops.telemetry.metering.meter.BATCH_RECORDS", 7)
    spools = tmp_path / "spool"
    spools.mkdir()
    write(spools, "busy", 20)
    write(spools, "quiet", 1)
    meter = Meter(TelemetrySettings(folder=spools), tmp_path / "meter.db")
    assert (meter.advance(), meter.advance()) == (7, 7)
    assert "quiet" in meter._positions
    meter.stop()
