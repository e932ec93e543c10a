"""The sections of calmops.yaml, each a frozen record: every setting, its default, its bounds and its unit."""

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
    """One model: which checkpoint, on how many ranks and replicas, under which bounds."""

    name: Annotated[Name, Meta(description="the name clients ask for: letters, digits, `.`, `_`, `-`")] = SHIPPED_MODEL
    path: Annotated[PathText | None, Meta(description="checkpoint folder; leave it out for the shipped model")] = None
    tier: Annotated[Literal["distilled", "base", "large"], Meta(description="of its size, as metrics name it")] = "base"
    variant: Annotated[Literal["stable", "canary"], Meta(description="of its rollout, as metrics name it")] = "stable"
    tp: Annotated[int, Meta(ge=1, le=64, description="ranks that share one replica's weights")] = 2
    replicas: Annotated[int, Meta(ge=1, le=1024, description="copies of the model, each a gang of tp ranks")] = 1
    dtype: Annotated[Literal["bfloat16", "float32"], Meta(description="type of weights and cache")] = "bfloat16"
    backend: Annotated[
        Literal["auto", "kernel", "transformers"], Meta(description="auto: the CPU kernel wherever it runs the model")
    ] = "auto"
    quantize: Annotated[
        Literal["int8"] | None, Meta(description="weights as 8-bit numbers; on the CPU kernel only")
    ] = None
    exact: Annotated[
        bool | None,
        Meta(
            description="the same tokens whatever the batch, preemption or migration; left out: where it costs nothing"
        ),
    ] = None
    prefix_cache: Annotated[bool, Meta(description="keep prompts' keys and values for requests that begin alike")] = (
        True
    )
    device: Annotated[Literal["auto", "cpu", "cuda"], Meta(description="auto: cuda where Ray has GPUs")] = "auto"
    simulated_gpu: Annotated[bool, Meta(description="take Ray's custom resource simulated_gpu, on CPU nodes")] = False
    kv_blocks: Annotated[int, Meta(ge=4, description="the cache's hard budget, in blocks of 16 tokens")] = 512
    threads_per_rank: Annotated[Count, Meta(description="CPU threads of one rank")] = 1
    max_sequences: Annotated[Count, Meta(description="sequences decoded together by one replica")] = 64
    max_rows_per_step: Annotated[int, Meta(ge=16, description="tokens of one step, prefill and decode")] = 256
    max_waiting: Annotated[Count, Meta(description="sequences that may wait in one replica; above it 429")] = 256


class HttpConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the API listens, and what protects it."""

    host: Annotated[Text, Meta(description="address to bind; other than loopback needs insecure: true")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535, description="TCP port of the API")] = 8000
    gateways: Annotated[int, Meta(ge=1, le=64, description="gateway processes behind the one port")] = 1
    insecure: Annotated[bool, Meta(description="allow an address that others can reach, without API keys")] = False
    admin_token_file: Annotated[
        PathText | None, Meta(description="file whose first line is the token that /admin/* then asks for")
    ] = None


class KafkaConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the telemetry log goes, beyond the local spool."""

    bootstrap_servers: Annotated[Text, Meta(description="host:port[,host:port]")]
    topic: Annotated[Name, Meta(description="created with its partitions if it isn't there")] = "calmops.telemetry"
    partitions: Annotated[Count, Meta(description="of the topic, when calmops creates it")] = 6
    replication_factor: Annotated[Count, Meta(description="of the topic, when calmops creates it")] = 1
    retention_s: Annotated[Count, Meta(description="of the topic, when calmops creates it")] = 7 * 24 * 3600
    security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], Meta(description="how to speak to the brokers")
    ] = "PLAINTEXT"
    sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None, Meta(description="needed with SASL_*")
    ] = None
    sasl_username: Annotated[Text | None, Meta(description="needed with SASL_*")] = None
    sasl_password_file: Annotated[
        PathText | None, Meta(description=f"file with the password; or set {KAFKA_PASSWORD_VARIABLE}")
    ] = None
    ssl_cafile: Annotated[PathText | None, Meta(description="CA certificates, PEM")] = None
    ssl_certfile: Annotated[PathText | None, Meta(description="client certificate, PEM")] = None
    ssl_keyfile: Annotated[PathText | None, Meta(description="client key, PEM")] = None

    def servers(self) -> list[str]:
        """Return each "host:port"."""
        return [server.strip() for server in self.bootstrap_servers.split(",")]


class LimitsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one gateway admits, and how long it puts up with whom."""

    max_requests: Annotated[Count, Meta(description="requests in a gateway; above it 429 at once")] = 256
    max_body_bytes: Annotated[int, Meta(ge=1024, description="of a request's body")] = 1_000_000
    max_n: Annotated[int, Meta(ge=1, le=128, description="choices of one request (n)")] = 16
    timeout_s: Annotated[Seconds, Meta(description="a request's deadline when it names none")] = 300.0
    slow_client_s: Annotated[Seconds, Meta(description="a client that reads nothing is cut after this")] = 30.0
    keepalive_s: Annotated[Seconds, Meta(description="between comments in a silent stream")] = 10.0


class RetentionConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much telemetry stays on a node's disk."""

    spool_bytes: Annotated[int, Meta(ge=1 << 20, description="of records that every reader has taken")] = 256 << 20
    spool_age_s: Annotated[Seconds, Meta(description="of records that every reader has taken")] = 24 * 3600.0
    spool_max_bytes: Annotated[
        int, Meta(ge=1 << 20, description="of all records in one spool; above it new ones are dropped and counted")
    ] = 1 << 30


class FailoverConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a gang counts as lost, and how hard a stream tries to go on."""

    stall_s: Annotated[float, Meta(ge=0.05, description="a busy gang without a step or heartbeat is lost")] = 0.5
    max_attempts: Annotated[Count, Meta(description="placements of one request, the first included")] = 4
    no_replica_s: Annotated[Seconds, Meta(description="to the error event when no replica is left")] = 2.0
    load_s: Annotated[Seconds, Meta(description="for a gang to load, compile and make its first step")] = 300.0
    drain_s: Annotated[Seconds, Meta(description="for running streams of a stopping replica, then they migrate")] = (
        300.0
    )


class ObjectivesConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is promised, and what it costs."""

    path: Annotated[
        PathText | None,
        Meta(description="folder with objectives/ and what else differs from what ships; left out: what ships"),
    ] = None
    prices_file: Annotated[
        PathText | None, Meta(description="prices.yaml: what replicas cost; left out: no costs are shown")
    ] = None


class CaptureConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether content is kept. Nothing else of calmops ever writes a prompt or an answer to a disk."""

    enabled: Annotated[
        bool, Meta(description="keep prompts and answers in the state folder, for calmops replay; each is audited")
    ] = False
    most_bytes: Annotated[
        int, Meta(ge=1 << 20, description="of captured requests, for each gateway, and as much again of earlier ones")
    ] = 64 << 20
    most_days: Annotated[
        int, Meta(ge=1, le=3650, description="after so long captured requests are deleted, capture being on or off")
    ] = 30


class TracingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where traces go, and which. Errors, migrations and broken ledgers are always among them."""

    endpoint: Annotated[
        Address | None, Meta(description="OTLP over HTTP, as in http://127.0.0.1:4318/v1/traces; left out: none leave")
    ] = None
    slowest: Annotated[float, Meta(ge=0, le=1, description="share of requests that counts as slow, and is kept")] = 0.01
    share: Annotated[float, Meta(ge=0, le=1, description="of the other requests, how many are kept")] = 0.01
    baggage: Annotated[tuple[Text, ...], Meta(description="keys of a caller's baggage that its spans show")] = ()


class GrafanaConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Grafana in which `calmops up` marks its deploys."""

    url: Annotated[Address, Meta(description="http://host:3000, with the path that it is served under")]
    token_file: Annotated[
        PathText | None, Meta(description="file with a service account's token; left out: the variable GRAFANA_TOKEN")
    ] = None
