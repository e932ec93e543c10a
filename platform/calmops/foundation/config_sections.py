"""Declares the sections of calmops.yaml as frozen records: every setting with its default, its bounds and its unit.

A setting's description is shown by editors (deploy/calmops.schema.json) and ends the message that refuses its value.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

SHIPPED_MODEL = "stdlib-5m"
KAFKA_PASSWORD_VARIABLE = "CALMOPS_KAFKA_SASL_PASSWORD"  # noqa: S105  a variable's name, not a secret
ADMIN_TOKEN_VARIABLE = "CALMOPS_ADMIN_TOKEN"  # noqa: S105  a variable's name, not a secret

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=10_000_000)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Text = Annotated[str, Meta(min_length=1)]
PathText = Annotated[str, Meta(min_length=1, extra={"path": True})]  # relative to calmops.yaml's own folder
Address = Annotated[str, Meta(pattern="^https?://.")]


class ModelConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Describes one model: its checkpoint, its ranks and replicas, and its bounds."""

    name: Annotated[Name, Meta(description="the name clients ask for: letters, digits, `.`, `_`, `-`")] = SHIPPED_MODEL
    path: Annotated[PathText | None, Meta(description="checkpoint folder; leave it out for the shipped model")] = None
    tier: Annotated[
        Literal["distilled", "base", "large"], Meta(description="the model's size, as a label of its metrics")
    ] = "base"
    variant: Annotated[
        Literal["stable", "canary"], Meta(description="the model's part in a rollout, as a label of its metrics")
    ] = "stable"
    tp: Annotated[int, Meta(ge=1, le=64, description="ranks that share one replica's weights")] = 2
    replicas: Annotated[int, Meta(ge=1, le=1024, description="copies of the model, each a gang of tp ranks")] = 1
    dtype: Annotated[Literal["bfloat16", "float32"], Meta(description="type of weights and cache")] = "bfloat16"
    backend: Annotated[
        Literal["auto", "kernel", "transformers"], Meta(description="auto: the CPU kernel wherever it runs the model")
    ] = "auto"
    quantize: Annotated[
        Literal["int8"] | None, Meta(description="int8: weights as 8-bit numbers, on the CPU kernel only")
    ] = None
    exact: Annotated[
        bool | None,
        Meta(
            description="true: the same tokens whatever the batch, preemption or migration; "
            "leave it out to have that where it costs nothing"
        ),
    ] = None
    prefix_cache: Annotated[
        bool, Meta(description="keep the keys and values of prompts for requests that begin alike")
    ] = True
    device: Annotated[Literal["auto", "cpu", "cuda"], Meta(description="auto: cuda where Ray has GPUs")] = "auto"
    simulated_gpu: Annotated[bool, Meta(description="take Ray's custom resource simulated_gpu, on CPU nodes")] = False
    kv_blocks: Annotated[
        int, Meta(ge=4, description="size of one replica's KV cache, in blocks of 16 tokens; it never grows")
    ] = 512
    threads_per_rank: Annotated[Count, Meta(description="CPU threads of one rank")] = 1
    max_sequences: Annotated[Count, Meta(description="most sequences that one replica decodes together")] = 64
    max_rows_per_step: Annotated[int, Meta(ge=16, description="most tokens in one step, prefill and decode")] = 256
    max_waiting: Annotated[
        Count, Meta(description="most sequences that wait in one replica; above it requests get 429")
    ] = 256


class HttpConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Says where the API listens, and what protects it."""

    host: Annotated[Text, Meta(description="address to bind; any but loopback needs insecure: true")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535, description="TCP port of the API")] = 8000
    gateways: Annotated[int, Meta(ge=1, le=64, description="gateway processes behind the one port")] = 1
    insecure: Annotated[bool, Meta(description="allow an address that others can reach, without API keys")] = False
    admin_token_file: Annotated[
        PathText | None, Meta(description="file whose first line is the token that /admin/* requires")
    ] = None


class KafkaConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Says where the telemetry log goes beyond the local spool."""

    bootstrap_servers: Annotated[Text, Meta(description="the brokers, as host:port[,host:port]")]
    topic: Annotated[Name, Meta(description="the topic's name; created if it doesn't exist")] = "calmops.telemetry"
    partitions: Annotated[Count, Meta(description="partitions of a topic that calmops creates")] = 6
    replication_factor: Annotated[Count, Meta(description="replicas of each partition that calmops creates")] = 1
    retention_s: Annotated[Count, Meta(description="seconds a topic that calmops creates keeps records")] = (
        7 * 24 * 3600
    )
    security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], Meta(description="protocol of the brokers")
    ] = "PLAINTEXT"
    sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None, Meta(description="SASL mechanism; SASL_* needs it")
    ] = None
    sasl_username: Annotated[Text | None, Meta(description="SASL user name; SASL_* needs it")] = None
    sasl_password_file: Annotated[
        PathText | None, Meta(description=f"file with the SASL password; or set {KAFKA_PASSWORD_VARIABLE}")
    ] = None
    ssl_cafile: Annotated[PathText | None, Meta(description="file with CA certificates, PEM")] = None
    ssl_certfile: Annotated[PathText | None, Meta(description="file with the client's certificate, PEM")] = None
    ssl_keyfile: Annotated[PathText | None, Meta(description="file with the client's key, PEM")] = None

    def servers(self) -> list[str]:
        """Return each "host:port"."""
        return [server.strip() for server in self.bootstrap_servers.split(",")]


class LimitsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds what one gateway admits, and how long it waits for its clients."""

    max_requests: Annotated[Count, Meta(description="most requests in one gateway; above it 429 at once")] = 256
    max_body_bytes: Annotated[int, Meta(ge=1024, description="most bytes in a request's body")] = 1_000_000
    max_n: Annotated[int, Meta(ge=1, le=128, description="most choices of one request (n)")] = 16
    timeout_s: Annotated[Seconds, Meta(description="seconds for a request that names no deadline")] = 300.0
    slow_client_s: Annotated[
        Seconds, Meta(description="seconds after which a client that reads nothing is cut off")
    ] = 30.0
    keepalive_s: Annotated[Seconds, Meta(description="seconds between two comments in a silent stream")] = 10.0


class RetentionConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds the telemetry that stays on a node's disk."""

    spool_bytes: Annotated[
        int, Meta(ge=1 << 20, description="most bytes to keep of records that every reader has taken")
    ] = 256 << 20
    spool_age_s: Annotated[Seconds, Meta(description="seconds to keep records every reader has taken")] = 24 * 3600.0
    spool_max_bytes: Annotated[
        int, Meta(ge=1 << 20, description="most bytes of all records in one spool; above it new ones are dropped")
    ] = 1 << 30


class FailoverConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Says when a gang counts as lost, and how hard a stream tries to go on."""

    stall_s: Annotated[
        float, Meta(ge=0.05, description="seconds without a step or heartbeat after which a busy gang is lost")
    ] = 0.5
    max_attempts: Annotated[Count, Meta(description="most placements of one request, the first included")] = 4
    no_replica_s: Annotated[
        Seconds, Meta(description="seconds without any replica after which a stream gets its error event")
    ] = 2.0
    load_s: Annotated[Seconds, Meta(description="seconds for a gang to load, compile and make its first step")] = 300.0
    drain_s: Annotated[
        Seconds, Meta(description="seconds for the running streams of a stopping replica; then they migrate")
    ] = 300.0


class ObjectivesConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names the files that say what is promised and what it costs."""

    path: Annotated[
        PathText | None,
        Meta(
            description="folder with objectives/ and other files that replace those that ship; "
            "leave it out to use those that ship"
        ),
    ] = None
    prices_file: Annotated[
        PathText | None, Meta(description="prices.yaml with the prices of replicas; without it no costs are shown")
    ] = None


class CaptureConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Says whether content is kept. Nothing else of calmops ever writes a prompt or an answer to a disk."""

    enabled: Annotated[
        bool,
        Meta(
            description="keep prompts and answers in the state folder, for calmops replay; reads and writes are audited"
        ),
    ] = False
    most_bytes: Annotated[
        int,
        Meta(
            ge=1 << 20,
            description="most bytes of captured requests per gateway, and as many again of gateways that ended",
        ),
    ] = 64 << 20
    most_days: Annotated[
        int, Meta(ge=1, le=3650, description="days after which captured requests are deleted, even with capture off")
    ] = 30


class TracingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Says where traces go, and which are kept. Errors, migrations and broken ledgers are always kept."""

    endpoint: Annotated[
        Address | None,
        Meta(description="OTLP over HTTP, like http://127.0.0.1:4318/v1/traces; without it no traces are sent"),
    ] = None
    slowest: Annotated[
        float, Meta(ge=0, le=1, description="share of requests that count as slow, whose traces are kept")
    ] = 0.01
    share: Annotated[float, Meta(ge=0, le=1, description="share of the other requests whose traces are kept")] = 0.01
    baggage: Annotated[tuple[Text, ...], Meta(description="keys of a caller's baggage that its spans show")] = ()


class GrafanaConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names the Grafana in which `calmops up` marks its deploys."""

    url: Annotated[Address, Meta(description="http://host:3000, with the path that it is served under")]
    token_file: Annotated[
        PathText | None,
        Meta(description="file with a service account's token; without it the variable GRAFANA_TOKEN is read"),
    ] = None
