"""Local parts that ``calmops up --with`` starts beside the platform, and ``calmops down`` ends."""

import msgspec

from calmops.foundation import paths
from calmops.foundation.config import Config, KafkaConfig
from calmops.telemetry.local_kafka import LocalKafka

KAFKA_PORT = 29092


def with_kafka(config: Config) -> Config:
    """Start the local broker (SetupError names `calmops setup kafka` where it isn't installed) and point at it."""
    broker = LocalKafka(paths.folder("state") / "kafka", KAFKA_PORT)
    broker.start()
    return msgspec.structs.replace(config, kafka=KafkaConfig(bootstrap_servers=f"127.0.0.1:{KAFKA_PORT}"))


def stop_all() -> list[str]:
    """End the parts that run; their names."""
    broker = LocalKafka(paths.folder("state") / "kafka", KAFKA_PORT)
    return ["kafka"] if broker.stop() else []
