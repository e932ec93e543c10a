"""The log in Kafka: a writer for the forwarder, a reader for the meter. The only file that knows kafka-python.

Records are keyed by source, so that one source's records share a partition and keep their order.
kafka-python's accumulator has no bound of its own: the forwarder bounds what it hands over.
"""

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, TopicAlreadyExistsError
from kafka.net.compat import KafkaNetClient

from calmops.telemetry.log.errors import LogUnavailable
from calmops.telemetry.metering.meter_store import Positions
from calmops.telemetry.settings import KafkaSettings

CONNECT_MS = 5_000
POLL_MS = 200
DELIVERY_MS = 24 * 3600 * 1000  # the forwarder decides when to give up, not the client
BATCH_BYTES = 256 << 10
REQUEST_BYTES = 1 << 20  # the broker's default bound of a batch


class KafkaWriter:
    """One idempotent producer session. After any failure it is closed and the forwarder makes another."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Raises LogUnavailable if no broker answers."""
        self._topic = settings.topic
        self._outstanding: list[Any] = []
        self._too_large = 0
        with _outage(settings):
            ensure_topic(settings)
            self._producer = _connected(
                KafkaProducer, settings, acks="all", enable_idempotence=True, compression_type="lz4", linger_ms=5,
                max_in_flight_requests_per_connection=1, batch_size=BATCH_BYTES, max_request_size=REQUEST_BYTES,
                delivery_timeout_ms=DELIVERY_MS, max_block_ms=CONNECT_MS, allow_auto_create_topics=False,
                metrics_enabled=False,
            )  # fmt: skip
        self._settings = settings

    def send(self, source: str, body: bytes) -> None:
        """Hand over one record. A record beyond the broker's bound is counted and left out."""
        with _outage(self._settings):
            try:
                self._outstanding.append(self._producer.send(self._topic, value=body, key=source.encode()))
            except MessageSizeTooLargeError:
                self._too_large += 1

    def acknowledged(self, timeout_s: float) -> bool:
        """True once everything handed over is on all in-sync replicas; False if it isn't after ``timeout_s``.

        Raises LogUnavailable if the broker refused any of it: then it isn't known which of the rest it has.
        """
        with _outage(self._settings):
            with suppress(KafkaTimeoutError):
                self._producer.flush(timeout=timeout_s)
            for future in self._outstanding:
                if future.failed():
                    raise future.exception
        if all(future.is_done for future in self._outstanding):
            self._outstanding.clear()
            return True
        return False

    def take_too_large(self) -> int:
        """Records left out since the last call."""
        taken, self._too_large = self._too_large, 0
        return taken

    def close(self) -> None:
        """End the session at once; what isn't acknowledged may or may not arrive."""
        with suppress(KafkaTimeoutError):
            self._producer.close(timeout=0)
            return
        self._producer._sender.force_close()  # close() raises over what isn't acknowledged, and leaves its thread


class KafkaSource:
    """The meter's way to the log. A position is the offset of a partition's last record that was read."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._consumer: KafkaConsumer | None = None

    def read(self, positions: Positions, limit: int) -> list[tuple[str, int, bytes]]:
        """New records, in order per partition. Raises LogUnavailable."""
        with _outage(self._settings):
            try:
                if self._consumer is None:
                    self._consumer = self._open(positions)
                polled = self._consumer.poll(timeout_ms=POLL_MS, max_records=limit)
            except KafkaError:
                self.close()
                raise
        return [
            (_position(self._settings.topic, partition.partition), record.offset, record.value or b"")
            for partition, records in polled.items()
            for record in records
        ]

    def saved(self, positions: Positions) -> None:
        """Nothing to tell the broker: offsets live in the meter's own file."""

    def close(self) -> None:
        """Leave the broker."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _open(self, positions: Positions) -> KafkaConsumer:
        ensure_topic(self._settings)
        consumer = _connected(
            KafkaConsumer, self._settings, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 << 20, allow_auto_create_topics=False, metrics_enabled=False,
        )  # fmt: skip
        try:
            partitions = _partitions(consumer, self._settings.topic)
            consumer.assign(partitions)
            for partition in partitions:
                last = positions.get(_position(partition.topic, partition.partition))
                if last is None:
                    consumer.seek_to_beginning(partition)
                else:
                    consumer.seek(partition, last + 1)
        except KafkaError:
            consumer.close()
            raise
        return consumer


def ensure_topic(settings: KafkaSettings) -> None:
    """Make the topic if it isn't there; an existing one is left as it is."""
    admin = _connected(KafkaAdminClient, settings)
    try:
        admin.create_topics(
            {
                settings.topic: {
                    "num_partitions": settings.partitions,
                    "replication_factor": settings.replication_factor,
                    "configs": {"retention.ms": str(settings.retention_s * 1000), "cleanup.policy": "delete"},
                }
            },
            timeout_ms=CONNECT_MS, wait_for_metadata=True,
        )  # fmt: skip
    except TopicAlreadyExistsError:
        pass
    finally:
        admin.close()


def _partitions(consumer: KafkaConsumer, topic: str) -> list[TopicPartition]:
    numbers = consumer.partitions_for_topic(topic)
    if not numbers:
        raise KafkaError(f"topic {topic!r} has no partitions yet")
    return [TopicPartition(topic, number) for number in sorted(numbers)]


def _position(topic: str, partition: int) -> str:
    return f"{topic}:{partition}"


def _client(settings: KafkaSettings) -> dict[str, Any]:
    """What producer, consumer and admin client have in common."""
    logging.getLogger("kafka").setLevel(
        logging.CRITICAL
    )  # several lines a second in an outage: the forwarder says it once
    return {
        "bootstrap_servers": settings.servers(),
        "client_id": "calmops",
        "bootstrap_timeout_ms": CONNECT_MS,
        "reconnect_backoff_max_ms": 1_000,
        "request_timeout_ms": 15_000,
        "security_protocol": settings.security_protocol,
        "sasl_mechanism": settings.sasl_mechanism,
        "sasl_plain_username": settings.sasl_username,
        "sasl_plain_password": settings.sasl_password,
        "ssl_cafile": settings.ssl_cafile,
        "ssl_certfile": settings.ssl_certfile,
        "ssl_keyfile": settings.ssl_keyfile,
    }


def _connected(factory: Callable[..., Any], settings: KafkaSettings, **options: Any) -> Any:
    """A client object whose first contact succeeded; one that fails is closed, which its own constructor omits."""
    _probe(settings)
    made: list[KafkaNetClient] = []

    def network(**configuration: Any) -> KafkaNetClient:
        made.append(KafkaNetClient(**configuration))
        return made[-1]

    try:
        return factory(**_client(settings), **options, kafka_client=network)
    except KafkaError as error:
        for client in made:
            client.close()
        raise KafkaError(
            f"a broker accepts connections but does not answer as {settings.security_protocol} "
            f"(are protocol, certificates and password as it wants them?): {error}"
        ) from error


def _probe(settings: KafkaSettings) -> None:
    """A plain connection to any of the servers: the usual outage is told apart at once, and cheaply."""
    failure: OSError | None = None
    for server in settings.servers():
        host, _, port = server.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_MS / 1000).close()
        except OSError as error:
            failure = error
        else:
            return
    raise KafkaError(f"no broker accepts a connection: {failure}")


@contextmanager
def _outage(settings: KafkaSettings) -> Iterator[None]:
    try:
        yield
    except KafkaError as error:
        raise LogUnavailable(f"kafka at {settings.bootstrap_servers}: {error}") from error
