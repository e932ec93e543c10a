"""Read for a proof what is in Kafka: each record once, and how often it came."""

import warnings
from collections import Counter
from collections.abc import Iterable

warnings.simplefilter("ignore", DeprecationWarning)  # kafka-python's import of its own schemas

from kafka import KafkaProducer

from calmops.foundation.config_sections import KafkaConfig
from calmops.messages.record import Closed, FrameRecord, Opened, Record
from calmops.telemetry.log.codec import decode
from calmops.telemetry.log.kafka_log import KafkaSource
from calmops.telemetry.metering.counts import Counts
from calmops.telemetry.metering.fold import fold
from calmops.telemetry.settings import KafkaSettings


class KafkaRecords:
    """Reads the whole topic. ``closed``, ``opened`` and ``generated`` are what the records themselves say.

    A client may use an id again once its request has ended: ``ended`` has the last one of each id. ``counts``: what
    all of them come to, each folded once here.
    """

    def __init__(self, bootstrap_servers: str) -> None:
        self._settings = KafkaSettings(config=KafkaConfig(bootstrap_servers=bootstrap_servers))
        self._source = KafkaSource(self._settings)
        self._positions: dict[str, int] = {}
        self._seen: set[tuple[str, int]] = set()
        self.copies = 0  # records that came again
        self.bodies: list[bytes] = []  # of each record, in the order of its arrival
        self.ended: dict[str, Closed] = {}
        self.closed: list[Closed] = []
        self.opened: list[str] = []  # ids
        self.generated: Counter[str] = Counter()  # tokens in frames, by request
        self.counts = Counts()

    def read(self) -> int:
        """Take what is new and return how many records that was."""
        rows = self._source.read(self._positions, 5000)
        for name, position, body in rows:
            self._positions[name] = position
            envelope = decode(body)
            if (envelope.source, envelope.seq) in self._seen:
                self.copies += 1
                continue
            self._seen.add((envelope.source, envelope.seq))
            self.bodies.append(body)
            fold(self.counts, envelope)
            self._take(envelope.record)
        return len(rows)

    def unended(self) -> int:
        """Return how many accepted requests have no end. Refused ones have only an end."""
        return (Counter(self.opened) - Counter(one.request_id for one in self.closed)).total()

    def send_again(self, bodies: Iterable[bytes]) -> int:
        """Put copies into the topic, as a forwarder does that got no answer, and return how many."""
        producer = KafkaProducer(bootstrap_servers=self._settings.servers(), acks="all")
        sent = [producer.send(self._settings.config.topic, body) for body in bodies]
        for delivery in sent:
            delivery.get(timeout=30)
        producer.close()
        return len(sent)

    def close(self) -> None:
        """Leave the broker."""
        self._source.close()

    def _take(self, record: Record) -> None:
        if isinstance(record, Closed):
            self.ended[record.request_id] = record
            self.closed.append(record)
        elif isinstance(record, Opened):
            self.opened.append(record.request_id)
        elif isinstance(record, FrameRecord):
            for share in record.sequences:
                self.generated[share.request_id] += share.tokens
