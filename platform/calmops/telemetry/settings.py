"""Holds telemetry's settings: the sections of calmops.yaml that concern it, unchanged, and bounds that are no settings.

A setting has its one default in config_sections. A field with a default here is no setting: only tests change it.
"""

from pathlib import Path

from msgspec import Struct

from calmops.foundation import paths
from calmops.foundation.config_sections import KafkaConfig, RetentionConfig


class KafkaSettings(Struct, frozen=True, kw_only=True):
    """Says where the log is and how to speak to it, with the password, which no file of settings holds."""

    config: KafkaConfig
    sasl_password: str | None = None
    in_flight_records: int = 2000  # most records handed to the client library and not yet acknowledged
    in_flight_bytes: int = 8 << 20  # most bytes in the bodies of those records

    def servers(self) -> list[str]:
        """Return each "host:port"."""
        return self.config.servers()


class TelemetrySettings(Struct, frozen=True, kw_only=True):
    """Says where the log and the spool are, and bounds ring and spool; every bound is enforced."""

    retention: RetentionConfig = RetentionConfig()
    kafka: KafkaSettings | None = None
    folder: Path | None = None  # None: foundation.paths.folder("state") / "spool"
    ring_records: int = 20_000
    ring_reserved: int = 2_000  # the part of ring_records kept for opening and closing records
    batch_records: int = 2_000  # most records in one commit
    commit_interval_s: float = 0.02  # how long the writer gathers before a commit
    reserved_bytes: int = 8 << 20  # the part of retention.spool_max_bytes kept for opening and closing records
    open_wait_s: float = 0.1  # how long an opening record may take to be committed
    lease_s: float = 5.0  # a dead gateway's requests are closed as lost_gateway this long after

    def spool_folder(self) -> Path:
        """Return the folder of the spool files, made if it isn't there."""
        path = self.folder if self.folder is not None else paths.folder("state") / "spool"
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path
