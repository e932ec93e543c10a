"""Writes the log to Kafka for the forwarder and reads it for the meter. Only this file imports kafka-python.

Records are keyed by source, so that one source's records share a partition and keep their order.
kafka-python's accumulator has no bound of its own: the forwarder bounds what it hands over. Knows no spool.
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
from calmops.telemetry.log.positions import Positions
from calmops.telemetry.settings import KafkaSettings

CONNECT_MS = 5_000
POLL_MS = 200
DELIVERY_MS = 24 * 3600 * 1000  # the forwarder decides when to give up, not the client
BATCH_BYTES = 256 << 10
REQUEST_BYTES = 1 << 20  # the broker's default bound of a batch


class KafkaWriter:
    """Writes records in one idempotent producer session. After a failure the forwarder closes it and makes another."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Connect, and create the topic if it is missing. Raises LogUnavailable if no broker answers."""
        self._topic = settings.config.topic
        self._outstanding: list[Any] = []
        self._too_large = 0
        with _as_log_unavailable(settings):
            ensure_topic(settings)
            self._producer = _connect(
                KafkaProducer, settings, acks="all", enable_idempotence=True, compression_type="lz4", linger_ms=5,
                max_in_flight_requests_per_connection=1, batch_size=BATCH_BYTES, max_request_size=REQUEST_BYTES,
                delivery_timeout_ms=DELIVERY_MS, max_block_ms=CONNECT_MS, allow_auto_create_topics=False,
                metrics_enabled=False,
            )  # fmt: skip
        self._settings = settings

    def send(self, source: str, body: bytes) -> None:
        """Hand over one record. A record over the broker's bound is counted and left out."""
        with _as_log_unavailable(self._settings):
            try:
                self._outstanding.append(self._producer.send(self._topic, value=body, key=source.encode()))
            except MessageSizeTooLargeError:
                self._too_large += 1

    def flush(self, timeout_s: float) -> bool:
        """Return True once every record handed over is on all in-sync replicas, False if that takes over ``timeout_s``.

        Raises LogUnavailable if the broker refused any record: then it isn't known which of the others it has.
        """
        with _as_log_unavailable(self._settings):
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
        """Return the number of records left out since the last call."""
        count, self._too_large = self._too_large, 0
        return count

    def close(self) -> None:
        """End the session at once; records that aren't acknowledged may or may not arrive."""
        with suppress(KafkaTimeoutError):
            self._producer.close(timeout=0)
            return
        # close() raises if records aren't acknowledged, and then leaves its thread running.
        self._producer._sender.force_close()


class KafkaSource:
    """Reads the log for the meter. A position is the offset of the last record read from a partition."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._consumer: KafkaConsumer | None = None

    def read(self, positions: Positions, limit: int) -> list[tuple[str, int, bytes]]:
        """Return (position's name, offset, body) of new records, in order per partition. Raises LogUnavailable."""
        with _as_log_unavailable(self._settings):
            try:
                if self._consumer is None:
                    self._consumer = self._open(positions)
                polled = self._consumer.poll(timeout_ms=POLL_MS, max_records=limit)
            except KafkaError:
                self.close()
                raise
        return [
            (_position_name(self._settings.config.topic, partition.partition), record.offset, record.value or b"")
            for partition, records in polled.items()
            for record in records
        ]

    def saved(self, positions: Positions) -> None:
        """Do nothing: the meter keeps the offsets in its own file."""

    def close(self) -> None:
        """Close the connection to the broker."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _open(self, positions: Positions) -> KafkaConsumer:
        ensure_topic(self._settings)
        consumer = _connect(
            KafkaConsumer, self._settings, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 << 20, allow_auto_create_topics=False, metrics_enabled=False,
        )  # fmt: skip
        try:
            partitions = _partitions(consumer, self._settings.config.topic)
            consumer.assign(partitions)
            for partition in partitions:
                last = positions.get(_position_name(partition.topic, partition.partition))
                if last is None:
                    consumer.seek_to_beginning(partition)
                else:
                    consumer.seek(partition, last + 1)
        except KafkaError:
            consumer.close()
            raise
        return consumer


def ensure_topic(settings: KafkaSettings) -> None:
    """Create the topic if it is missing; leave an existing one as it is."""
    admin = _connect(KafkaAdminClient, settings)
    try:
        admin.create_topics(
            {
                settings.config.topic: {
                    "num_partitions": settings.config.partitions,
                    "replication_factor": settings.config.replication_factor,
                    "configs": {"retention.ms": str(settings.config.retention_s * 1000), "cleanup.policy": "delete"},
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


def _position_name(topic: str, partition: int) -> str:
    return f"{topic}:{partition}"


def _client_options(settings: KafkaSettings) -> dict[str, Any]:
    """Return the options that producer, consumer and admin client share."""
    # In an outage the client logs several lines per second; the forwarder logs one line.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    return {
        "bootstrap_servers": settings.servers(),
        "client_id": "calmops",
        "bootstrap_timeout_ms": CONNECT_MS,
        "reconnect_backoff_max_ms": 1_000,
        "request_timeout_ms": 15_000,
        "security_protocol": settings.config.security_protocol,
        "sasl_mechanism": settings.config.sasl_mechanism,
        "sasl_plain_username": settings.config.sasl_username,
        "sasl_plain_password": settings.sasl_password,
        "ssl_cafile": settings.config.ssl_cafile,
        "ssl_certfile": settings.config.ssl_certfile,
        "ssl_keyfile": settings.config.ssl_keyfile,
    }


def _connect(factory: Callable[..., Any], settings: KafkaSettings, **options: Any) -> Any:
    """Return a client whose first contact succeeded. Close one that failed, which its own constructor omits."""
    _probe(settings)
    clients: list[KafkaNetClient] = []

    def network(**configuration: Any) -> KafkaNetClient:
        clients.append(KafkaNetClient(**configuration))
        return clients[-1]

    try:
        return factory(**_client_options(settings), **options, kafka_client=network)
    except KafkaError as error:
        for client in clients:
            client.close()
        raise KafkaError(
            f"a broker accepts connections but does not answer as {settings.config.security_protocol} "
            f"(do protocol, certificates and password match the broker's?): {error}"
        ) from error


def _probe(settings: KafkaSettings) -> None:
    """Open a plain connection to any of the servers, so that the usual outage is recognised at once and cheaply."""
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
def _as_log_unavailable(settings: KafkaSettings) -> Iterator[None]:
    try:
        yield
    except KafkaError as error:
        raise LogUnavailable(f"kafka at {settings.config.bootstrap_servers}: {error}") from error
