"""What telemetry must be told. Plain values; the wiring place fills them from calmops.yaml."""

from pathlib import Path

from msgspec import Struct

from calmops.foundation import paths
from calmops.foundation.errors import ConfigError

SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


class KafkaSettings(Struct, frozen=True, kw_only=True):
    """Where the log is, and how to speak to it. ``bootstrap_servers`` is "host:port[,host:port]"."""

    bootstrap_servers: str
    topic: str = "calmops.telemetry"
    partitions: int = 6
    replication_factor: int = 1
    retention_s: int = 7 * 24 * 3600
    security_protocol: str = "PLAINTEXT"  # PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL
    sasl_mechanism: str | None = None  # PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
    sasl_username: str | None = None
    sasl_password: str | None = None
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    in_flight_records: int = 2000  # handed to the client library and not yet acknowledged
    in_flight_bytes: int = 8 << 20  # likewise, of their bodies

    def servers(self) -> list[str]:
        """Each "host:port"."""
        return [server.strip() for server in self.bootstrap_servers.split(",")]

    def check(self) -> None:
        """Raises ConfigError that names the setting and its remedy."""
        for server in self.servers():
            host, _, port = server.rpartition(":")
            if not host or not port.isdigit():
                raise ConfigError(f"kafka.bootstrap_servers: {server!r} is not host:port")
        if self.security_protocol not in SECURITY_PROTOCOLS:
            raise ConfigError(
                f"kafka.security_protocol: {self.security_protocol!r} is none of {', '.join(SECURITY_PROTOCOLS)}"
            )
        sasl = self.security_protocol.startswith("SASL_")
        if sasl and self.sasl_mechanism not in SASL_MECHANISMS:
            raise ConfigError(f"kafka.sasl_mechanism: {self.sasl_mechanism!r} is none of {', '.join(SASL_MECHANISMS)}")
        if sasl and not (self.sasl_username and self.sasl_password):
            raise ConfigError("kafka.sasl_username and kafka.sasl_password: both are needed with SASL")
        for name in ("partitions", "replication_factor", "retention_s", "in_flight_records", "in_flight_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"kafka.{name}: {getattr(self, name)} is below 1")


class TelemetrySettings(Struct, frozen=True, kw_only=True):
    """Bounds of the ring and the spool; every one of them is enforced."""

    folder: Path | None = None  # None: foundation.paths.folder("state") / "spool"
    ring_records: int = 20_000
    ring_reserved: int = 2_000  # of those, room for opening and closing records only
    batch_records: int = 2_000  # most records in one commit
    commit_interval_s: float = 0.02  # how long the writer gathers before a commit
    max_bytes: int = 1 << 30  # of all records in one spool file; above it new ones are dropped
    reserved_bytes: int = 8 << 20  # of those, room for opening and closing records only
    retention_bytes: int = 256 << 20  # of records that every reader has taken
    retention_s: float = 24 * 3600.0  # of records that every reader has taken
    open_wait_s: float = 0.1  # how long an opening record may take to be committed
    lease_s: float = 5.0  # a dead gateway's requests are closed as lost_gateway this long after
    kafka: KafkaSettings | None = None

    def spool_folder(self) -> Path:
        """The folder of the spool files, made if it isn't there."""
        path = self.folder if self.folder is not None else paths.folder("state") / "spool"
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path
