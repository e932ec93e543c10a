"""What telemetry is told: the sections of calmops.yaml that concern it, as they are, and bounds that are no settings.

A setting has its one default in config_sections. What has a default here is no setting: tests change it, nobody else.
"""

from pathlib import Path

from msgspec import Struct

from calmops.foundation import paths
from calmops.foundation.config_sections import KafkaConfig, RetentionConfig


class KafkaSettings(Struct, frozen=True, kw_only=True):
    """Where the log is, how to speak to it, and the password, which is in no file of settings."""

    config: KafkaConfig
    sasl_password: str | None = None
    in_flight_records: int = 2000  # handed to the client library and not yet acknowledged
    in_flight_bytes: int = 8 << 20  # the bodies of those records

    def servers(self) -> list[str]:
        """Return each "host:port"."""
        return self.config.servers()


class TelemetrySettings(Struct, frozen=True, kw_only=True):
    """Bounds of the ring and the spool; every one of them is enforced."""

    retention: RetentionConfig = RetentionConfig()
    kafka: KafkaSettings | None = None
    folder: Path | None = None  # None: foundation.paths.folder("state") / "spool"
    ring_records: int = 20_000
    ring_reserved: int = 2_000  # of those, room for opening and closing records only
    batch_records: int = 2_000  # most records in one commit
    commit_interval_s: float = 0.02  # how long the writer gathers before a commit
    reserved_bytes: int = 8 << 20  # of retention.spool_max_bytes, room for opening and closing records only
    open_wait_s: float = 0.1  # how long an opening record may take to be committed
    lease_s: float = 5.0  # a dead gateway's requests are closed as lost_gateway this long after

    def spool_folder(self) -> Path:
        """Return the folder of the spool files, made if it isn't there."""
        path = self.folder if self.folder is not None else paths.folder("state") / "spool"
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path
