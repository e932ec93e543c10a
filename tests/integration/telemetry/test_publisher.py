"""Tests publisher and writer thread on real files: opening records in time, counted drops, adoption, a full spool."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from calmops.foundation.config_sections import RetentionConfig
from calmops.foundation.errors import SetupError
from calmops.foundation.model_labels import NO_LABELS
from calmops.messages.record import Closed, Counted, Dropped, Opened, Record
from calmops.telemetry.log.codec import decode
from calmops.telemetry.log.publisher import SilentPublisher, SpoolPublisher
from calmops.telemetry.log.spool import Spool
from calmops.telemetry.settings import TelemetrySettings
from tests.support.telemetry_records import closed, frame, opened


def records_in(path: Path) -> list[Record]:
    """Return every record in the file, in order; assert that their numbers are gapless."""
    spool = Spool(path)
    rows = spool.read(0, 100_000)
    spool.close()
    assert [seq for seq, _ in rows] == list(range(1, len(rows) + 1))
    return [decode(body).record for _, body in rows]


def until(holds: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait until ``holds()`` is true."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, f"still not so after {within_s} s"
        time.sleep(0.01)


@pytest.fixture
def settings(tmp_path: Path) -> TelemetrySettings:
    return TelemetrySettings(folder=tmp_path, lease_s=0.2)


def test_an_opening_record_is_durable_before_open_returns(settings: TelemetrySettings, tmp_path: Path) -> None:
    publisher = SpoolPublisher("gw", settings)
    publisher.start()
    try:
        assert asyncio.run(publisher.open(opened("a")))
        assert records_in(tmp_path / "gw.db") == [opened("a")]
    finally:
        publisher.close()


def test_records_of_one_publisher_keep_their_order(settings: TelemetrySettings, tmp_path: Path) -> None:
    publisher = SpoolPublisher("gw", settings)
    publisher.start()
    records = [frame(step) for step in range(5000)]
    for record in records:
        publisher.publish(record)
    publisher.close()
    assert records_in(tmp_path / "gw.db") == records


def test_an_opening_record_that_is_not_committed_in_time_is_counted(
    settings: TelemetrySettings, tmp_path: Path
) -> None:
    publisher = SpoolPublisher("gw", settings)
    publisher.start()
    until(lambda: (tmp_path / "gw.db").exists() and publisher.stats()["commit_failures"] == 0)
    time.sleep(0.1)
    blocker = sqlite3.connect(tmp_path / "gw.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    assert not asyncio.run(publisher.open(opened("late")))
    assert time.monotonic() - started < 0.1 + 0.15
    blocker.execute("ROLLBACK")
    blocker.close()
    until(lambda: publisher.stats()["committed"] >= 2)
    publisher.close()
    assert publisher.stats()["spool_unavailable"] == 1
    counted = [r for r in records_in(tmp_path / "gw.db") if isinstance(r, Counted)]
    assert [(r.name, r.value) for r in counted] == [("spool_unavailable", 1)]


def test_a_spool_that_cannot_be_written_blocks_no_request(settings: TelemetrySettings, tmp_path: Path) -> None:
    (tmp_path / "gw.db").mkdir()
    publisher = SpoolPublisher("gw", settings)
    publisher.start()
    assert not asyncio.run(publisher.open(opened("a")))
    publisher.publish(frame(1))
    publisher.close()
    assert publisher.stats()["spool_unavailable"] == 1
    assert publisher.stats()["commit_failures"] >= 1


def test_two_living_gateways_cannot_share_an_id(settings: TelemetrySettings) -> None:
    first, second = SpoolPublisher("gw", settings), SpoolPublisher("gw", settings)
    first.start()
    with pytest.raises(SetupError, match="'gw' is in use"):
        second.start()
    first.close()


def test_a_full_ring_drops_records_and_writes_their_count_to_the_log(tmp_path: Path) -> None:
    settings = TelemetrySettings(folder=tmp_path, ring_records=100, ring_reserved=10, commit_interval_s=0.3)
    publisher = SpoolPublisher("gw", settings)
    publisher.start()
    time.sleep(0.05)
    for step in range(200):
        publisher.publish(frame(step, sequences=3))
    publisher.close()
    records = records_in(tmp_path / "gw.db")
    drops = [r for r in records if isinstance(r, Dropped)]
    kept = len(records) - len(drops)
    assert {r.reason for r in drops} == {"ring_full"}
    assert kept + sum(r.records for r in drops) == 200
    assert sum(r.tokens for r in drops) == 3 * (200 - kept)
    assert publisher.stats()["dropped_ring_full"] == 200 - kept


def test_a_full_spool_keeps_request_records_then_drops_those_too_and_never_blocks(tmp_path: Path) -> None:
    settings = TelemetrySettings(
        folder=tmp_path,
        retention=msgspec.structs.replace(RetentionConfig(), spool_max_bytes=60_000, spool_bytes=0),
        reserved_bytes=20_000,
        batch_records=20,
    )
    publisher = SpoolPublisher("gw", settings)
    publisher.start()
    for step in range(2000):
        publisher.publish(frame(step, sequences=4))
    until(lambda: publisher.stats().get("dropped_spool_full", 0) > 0)
    assert asyncio.run(publisher.open(opened("in reserved room")))
    for number in range(2000):
        publisher.publish(opened(f"more-{number}"))
    until(lambda: not asyncio.run(publisher.open(opened("too much"))))
    reader = Spool(tmp_path / "gw.db")
    assert reader.size_bytes <= 60_000 + 20 * 500  # at most one commit's records above the bound
    bodies = dict(reader.read(0, 100_000))
    reader.advance("meter", max(bodies))
    until(lambda: asyncio.run(publisher.open(opened("room again"))))
    publisher.close()
    bodies.update(reader.read(0, 100_000))
    reader.close()
    assert sorted(bodies) == list(range(1, max(bodies) + 1))
    drops = [record for record in (decode(body).record for body in bodies.values()) if isinstance(record, Dropped)]
    assert {drop.reason for drop in drops} == {"spool_full"}
    assert sum(drop.records for drop in drops) == publisher.stats()["dropped_spool_full"]


def test_a_dead_gateway_s_spool_is_adopted_and_its_open_requests_close_as_lost(
    settings: TelemetrySettings, tmp_path: Path
) -> None:
    dead = Spool(tmp_path / "dead.db")
    dead.append([opened("a", "dead"), opened("b", "dead"), closed("a")], 1)
    dead.close()
    publisher = SpoolPublisher("alive", settings)
    publisher.start()
    until(lambda: len(records_in(tmp_path / "dead.db")) == 4)
    publisher.close()
    last = records_in(tmp_path / "dead.db")[-1]
    assert isinstance(last, Closed)
    assert (last.request_id, last.outcome, last.ledger, last.gateway_id) == ("b", "lost_gateway", "unknown", "dead")
    assert last.prompt_tokens == opened("b").prompt_tokens


def test_a_living_gateway_s_requests_are_left_alone(settings: TelemetrySettings, tmp_path: Path) -> None:
    first, second = SpoolPublisher("first", settings), SpoolPublisher("second", settings)
    first.start()
    second.start()
    assert asyncio.run(first.open(opened("a", "first")))
    time.sleep(0.7)  # more than three leases
    assert [type(r) for r in records_in(tmp_path / "first.db")] == [Opened]
    second.close()
    first.close()


def test_a_drained_spool_of_a_dead_gateway_is_deleted_after_retention(tmp_path: Path) -> None:
    settings = TelemetrySettings(
        folder=tmp_path, lease_s=0.1, retention=msgspec.structs.replace(RetentionConfig(), spool_age_s=0.0)
    )
    dead = Spool(tmp_path / "dead.db")
    dead.append([frame(1), frame(2)], 1)
    dead.advance("meter", 2)
    dead.close()
    publisher = SpoolPublisher("alive", settings)
    publisher.start()
    until(lambda: not (tmp_path / "dead.db").exists())
    publisher.close()
    assert not (tmp_path / "dead.lock").exists()


def test_a_silent_publisher_drops_everything_and_holds_no_ledger() -> None:
    publisher = SilentPublisher("gw", {"m": NO_LABELS})
    publisher.start()
    publisher.count("m", "migrations", "replica_lost")
    assert not publisher.publish(frame(1))
    assert not asyncio.run(publisher.open(opened("a")))
    publisher.close()
    assert (publisher.stats(), publisher.labels) == ({}, {"m": NO_LABELS})
