"""Measures how many tokens per second the meter reads, decodes, folds and saves on one core, commits included."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from calmops.foundation.config_sections import KafkaConfig
from calmops.foundation.ports import free_port
from calmops.local_services.kafka import LocalKafka
from calmops.messages.record import FrameRecord, Record, SequenceStep
from calmops.telemetry.exposition.prometheus import exposition
from calmops.telemetry.log import codec
from calmops.telemetry.log.kafka_log import KafkaWriter
from calmops.telemetry.log.spool import Spool
from calmops.telemetry.metering.meter import Meter
from calmops.telemetry.settings import KafkaSettings, TelemetrySettings
from tests.bench import cores

SEQUENCES = 32
SPOOL_AIM, KAFKA_AIM = 500_000, 300_000  # tokens/s
COMMIT_RECORDS = 50


def from_spool_and_kafka(workspace: Path, count: int, times: int) -> tuple[list[float], list[float]]:
    """Return tokens per second of fresh meters over ``count`` frames, from a spool and from a real broker.

    The broker runs on another core.
    """
    records = frames(count)
    settings = TelemetrySettings(folder=workspace / "spool")
    spool = Spool(settings.spool_folder() / "gateway-1.db")
    for first in range(0, count, COMMIT_RECORDS):
        spool.append(records[first : first + COMMIT_RECORDS], 10**18)
    spool.close()
    cores.pin_self(cores.ENGINE)
    try:
        from_spool = _rounds(times, settings, workspace, count)
        with _broker(workspace / "kafka") as servers:
            kafka = KafkaSettings(config=KafkaConfig(bootstrap_servers=servers, topic="fold", partitions=1))
            _write_to_kafka(kafka, records)
            kafka_settings = TelemetrySettings(folder=workspace / "none", kafka=kafka)
            return from_spool, _rounds(times, kafka_settings, workspace, count)
    finally:
        cores.pin_self(cores.ALL)


def frames(count: int) -> list[Record]:
    """Return ``count`` steps of one gang, each with a token for every sequence; the gaps differ."""
    return [
        FrameRecord(
            replica_id="replica-1", gang_id="gang-1", shard=0, model="m", step=step, at_ns=10**18 + step * 20_000_000,
            duration_ns=18_000_000 + step % 1000, rows=SEQUENCES, decode_rows=SEQUENCES, running=SEQUENCES,
            sequences=tuple(
                SequenceStep(
                    request_id=f"req-{number:08d}-{step // 64}", attempt=1, choice=0, index=step % 64, tokens=1,
                    released=1, gap_engine_ns=20_000_000 + (step * 7 + number) % 5000,
                    gap_gateway_ns=21_000_000 + (step * 5 + number) % 7000,
                )
                for number in range(SEQUENCES)
            ),
        )
        for step in range(1, count + 1)
    ]  # fmt: skip


def _rounds(times: int, settings: TelemetrySettings, workspace: Path, count: int) -> list[float]:
    rates = [_fold_rate(settings, workspace / f"meter-{time.monotonic_ns()}.db", count) for _ in range(times)]
    print(", ".join(f"{rate:,.0f}" for rate in rates), flush=True)
    return rates


def _fold_rate(settings: TelemetrySettings, state: Path, count: int) -> float:
    """Return tokens per second of a fresh meter, including its connection; assert that it counted every frame."""
    meter = Meter(settings, state)
    left, began_s = count, time.perf_counter()
    while left > 0:
        left -= meter.advance()
    took_s = time.perf_counter() - began_s
    assert f"calmops_records_total {float(count)}".encode() in meter.look(exposition), "not every record was counted"
    meter.stop()
    return count * SEQUENCES / took_s


@contextmanager
def _broker(folder: Path) -> Iterator[str]:
    broker = LocalKafka(folder, free_port())
    cores.pin_self(cores.REST)
    broker.start()
    cores.pin_self(cores.ENGINE)
    try:
        yield broker.bootstrap_servers
    finally:
        broker.stop()


def _write_to_kafka(settings: KafkaSettings, records: list[Record]) -> None:
    writer = KafkaWriter(settings)
    for seq, record in enumerate(records, 1):
        writer.send("gateway-1", codec.encode("gateway-1", seq, record))
    assert writer.flush(120), "the broker didn't take the records"
    writer.close()
