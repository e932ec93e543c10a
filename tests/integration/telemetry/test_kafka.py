"""Tests forwarder and meter on a real broker: records arrive in order and count once, whichever process dies."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from calmops.foundation.config_sections import KafkaConfig
from calmops.foundation.errors import SetupError
from calmops.foundation.ports import free_port
from calmops.local_services.kafka import LocalKafka
from calmops.messages.record import Record
from calmops.telemetry.exposition.prometheus import exposition
from calmops.telemetry.log.codec import decode
from calmops.telemetry.log.errors import LogUnavailable
from calmops.telemetry.log.forwarder import Forwarder
from calmops.telemetry.log.kafka_log import KafkaSource, KafkaWriter, ensure_topic
from calmops.telemetry.log.positions import Positions
from calmops.telemetry.log.spool import Spool
from calmops.telemetry.metering.meter import Meter
from calmops.telemetry.settings import KafkaSettings, TelemetrySettings
from tests.support.telemetry_records import T0_NS, closed, frame, opened


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    broker = LocalKafka(tmp_path_factory.mktemp("broker"), free_port(followers=1))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def settings(broker: LocalKafka, request: pytest.FixtureRequest) -> KafkaSettings:
    topic = f"t{abs(hash(request.node.name))}"
    return KafkaSettings(
        config=KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic=topic), in_flight_records=300
    )


def until(holds: Callable[[], bool], within_s: float = 30.0) -> None:
    """Wait until ``holds()`` is true."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, f"still not so after {within_s} s"
        time.sleep(0.02)


def write(folder: Path, source: str, steps: int) -> Path:
    """Append one request of ``steps`` frames to a gateway's spool; return its path."""
    path = folder / f"{source}.db"
    spool = Spool(path)
    first = spool.last_seq
    name = f"{source}-{first}"
    records: list[Record] = [
        opened(name),
        *(frame(first + s, gang_id=source) for s in range(1, steps + 1)),
        closed(name),
    ]
    spool.append(records, T0_NS)
    spool.close()
    return path


def read_all(settings: KafkaSettings, count: int, positions: Positions | None = None) -> list[tuple[str, int]]:
    """Return (source, seq) of the log's next ``count`` records, in order per partition."""
    source, positions = KafkaSource(settings), positions if positions is not None else {}
    records: list[tuple[str, int]] = []
    end = time.monotonic() + 30
    while len(records) < count:
        assert time.monotonic() < end, f"{len(records)} of {count} records in the log after 30 s"
        for name, position, body in source.read(positions, 1000):
            positions[name] = position
            envelope = decode(body)
            records.append((envelope.source, envelope.seq))
    source.close()
    return records


def mark(path: Path) -> int:
    """Return the seq up to which a spool was forwarded."""
    spool = Spool(path)
    seq = spool.mark("kafka")
    spool.close()
    return seq


def test_records_arrive_in_order_per_source_and_are_marked_once_acknowledged(
    settings: KafkaSettings, tmp_path: Path
) -> None:
    spools = [write(tmp_path, source, 998) for source in ("gw-a", "gw-b", "gw-c")]
    forwarder = Forwarder(settings, lambda: spools)
    forwarder.start()
    until(lambda: [mark(path) for path in spools] == [1000] * 3)
    forwarder.stop()
    records = read_all(settings, 3000)
    for source in ("gw-a", "gw-b", "gw-c"):
        assert [seq for name, seq in records if name == source] == list(range(1, 1001))
    assert forwarder.stats() == {
        "forwarded": 3000, "forward_failures": 0, "forward_too_large": 0, "forward_waiting": 0,
    }  # fmt: skip


def test_an_outage_and_dead_forwarders_lose_no_record_and_the_meter_counts_each_once(
    broker: LocalKafka, settings: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calmops.telemetry.log.forwarder._LAST_ROUND_S", 1.0)
    spools = tmp_path / "spool"
    spools.mkdir()
    paths = [write(spools, source, 1998) for source in ("gw-a", "gw-b")]
    first = Forwarder(settings, lambda: paths)
    first.start()
    until(lambda: mark(paths[0]) > 0)
    broker.kill()
    write(spools, "gw-a", 498)
    until(lambda: first.stats()["forwarded"] > 0)
    first.stop()
    second = Forwarder(settings, lambda: paths)
    second.start()
    until(lambda: second.stats()["forward_failures"] > 0)
    broker.start()
    for path in paths:  # as if the acknowledgements of the last rounds had been lost
        spool = Spool(path)
        spool._db.execute("UPDATE marks SET seq = max(0, seq - 200) WHERE name = 'kafka'")
        spool.close()
    second.stop()
    third = Forwarder(settings, lambda: paths)
    third.start()
    until(lambda: [mark(path) for path in paths] == [2500, 2000])
    third.stop()

    from_log = Meter(TelemetrySettings(folder=spools, kafka=settings), tmp_path / "from_log.db")
    until(lambda: from_log.advance() == 0 and b"calmops_records_total 4500.0" in from_log.look(exposition))
    from_spools = Meter(TelemetrySettings(folder=spools), tmp_path / "from_spools.db")
    while from_spools.advance():
        pass
    assert counts_without_duplicates(from_log) == counts_without_duplicates(from_spools)
    for meter in (from_log, from_spools):
        meter.stop()


def counts_without_duplicates(meter: Meter) -> list[str]:
    """Return the exposition's lines except the count of records that came twice."""
    lines = meter.look(exposition).decode().splitlines()
    return [line for line in lines if not line.startswith("calmops_duplicate_records_total")]


def test_the_meter_s_file_keeps_the_offsets(settings: KafkaSettings, tmp_path: Path) -> None:
    paths = [write(tmp_path, "gw", 98)]
    forwarder = Forwarder(settings, lambda: paths)
    forwarder.start()
    until(lambda: mark(paths[0]) == 100)
    telemetry = TelemetrySettings(folder=tmp_path, kafka=settings)
    meter = Meter(telemetry, tmp_path / "state" / "meter.db")
    until(lambda: meter.advance() == 100)
    meter.stop()
    write(tmp_path, "gw", 8)
    until(lambda: mark(paths[0]) == 110)
    forwarder.stop()
    resumed = Meter(telemetry, tmp_path / "state" / "meter.db")
    until(lambda: resumed.advance() == 10)
    text = resumed.look(exposition)
    assert b"calmops_records_total 110.0" in text
    assert b"calmops_duplicate_records_total 0.0" in text
    resumed.stop()


def test_a_meter_continues_by_itself_after_an_outage(
    broker: LocalKafka, settings: KafkaSettings, tmp_path: Path
) -> None:
    paths = [write(tmp_path, "gw", 8)]
    forwarder = Forwarder(settings, lambda: paths)
    forwarder.start()
    meter = Meter(TelemetrySettings(folder=tmp_path, kafka=settings), tmp_path / "state" / "meter.db")
    meter.start()
    until(lambda: b"calmops_records_total 10.0" in meter.look(exposition))
    broker.kill()
    write(tmp_path, "gw", 8)
    time.sleep(1.0)
    broker.start()
    until(lambda: b"calmops_records_total 20.0" in meter.look(exposition))
    meter.stop()
    forwarder.stop()


def test_the_topic_is_created_with_its_partitions_and_retention_and_then_left_alone(settings: KafkaSettings) -> None:
    ensure_topic(settings)
    ensure_topic(settings)
    admin = KafkaAdminClient(bootstrap_servers=settings.servers())
    topic = admin.describe_topics([settings.config.topic])[0]
    assert len(topic["partitions"]) == settings.config.partitions
    described = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, settings.config.topic)])
    assert str(settings.config.retention_s * 1000) in str(described)
    admin.close()


def test_without_a_broker_nothing_blocks_no_thread_is_left_and_stopping_is_quick(tmp_path: Path) -> None:
    settings = KafkaSettings(config=KafkaConfig(bootstrap_servers=f"127.0.0.1:{free_port()}"))
    before = set(threading.enumerate())
    for _ in range(5):
        with pytest.raises(LogUnavailable, match="no broker accepts a connection"):
            KafkaWriter(settings)
    assert set(threading.enumerate()) == before
    paths = [write(tmp_path, "gw", 3)]
    forwarder = Forwarder(settings, lambda: paths)
    forwarder.start()
    until(lambda: forwarder.stats()["forward_failures"] > 0)
    started = time.monotonic()
    forwarder.stop()
    assert time.monotonic() - started < 2.0
    assert mark(paths[0]) == 0


def test_another_object_on_the_same_folder_finds_and_stops_the_broker(tmp_path: Path) -> None:
    broker = LocalKafka(tmp_path, free_port(followers=1))
    assert broker.stop() is False
    broker.start()
    other = LocalKafka(tmp_path, broker._port)
    assert other.pid == broker.pid is not None
    other.start()
    assert other.stop() is True
    assert broker.pid is None
    assert broker.stop() is False


def test_a_missing_installation_is_an_error_that_names_the_command_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="calmops setup kafka"):
        LocalKafka(tmp_path / "broker", free_port(followers=1), tools=tmp_path).start()


def test_a_jar_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    jars = tmp_path / "lib"
    jars.mkdir()
    (jars / "kafka_2.13-4.1.0.jar").write_bytes(b"something else")
    with pytest.raises(SetupError, match="not the file that was pinned"):
        LocalKafka(tmp_path / "broker", free_port(followers=1), tools=tmp_path).start()
