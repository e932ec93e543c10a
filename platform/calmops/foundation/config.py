"""calmops.yaml as frozen records: every setting, its default, its bounds and its unit.

Parsed once where a process starts; everything behind gets records or plain values. Secrets are never in the file: they
come from a file that it names, or from the environment (the variables below, read here and nowhere else).
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from calmops.foundation.config_file import Problem, parse, refuse
from calmops.foundation.errors import ConfigError
from calmops.foundation.secret_file import secret

CONFIG_VARIABLE = "CALMOPS_CONFIG"
ADMIN_TOKEN_VARIABLE = "CALMOPS_ADMIN_TOKEN"  # noqa: S105  a variable's name, not a secret
KAFKA_PASSWORD_VARIABLE = "CALMOPS_KAFKA_SASL_PASSWORD"  # noqa: S105  a variable's name, not a secret
DEFAULT_FILE = "calmops.yaml"
SHIPPED_MODEL = "stdlib-5m"
LOOPBACK = ("127.0.0.1", "localhost", "::1")

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=10_000_000)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Text = Annotated[str, Meta(min_length=1)]
Address = Annotated[str, Meta(pattern="^https?://.")]


class ModelConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model: which checkpoint, on how many ranks and replicas, under which bounds."""

    name: Annotated[Name, Meta(description="the name clients ask for: letters, digits, `.`, `_`, `-`")] = SHIPPED_MODEL
    path: Annotated[Text | None, Meta(description="checkpoint folder; leave it out for the shipped model")] = None
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
        Meta(description="the same tokens whatever the batch, preemption or migration; left out: where it costs nothing"),
    ] = None
    prefix_cache: Annotated[bool, Meta(description="keep prompts' keys and values for requests that begin alike")] = True
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
        Text | None, Meta(description="file whose first line is the token that /admin/* then asks for")
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
        Text | None, Meta(description=f"file with the password; or set {KAFKA_PASSWORD_VARIABLE}")
    ] = None
    ssl_cafile: Annotated[Text | None, Meta(description="CA certificates, PEM")] = None
    ssl_certfile: Annotated[Text | None, Meta(description="client certificate, PEM")] = None
    ssl_keyfile: Annotated[Text | None, Meta(description="client key, PEM")] = None


class LimitsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one gateway admits, and how long it puts up with whom."""

    max_waiting: Annotated[Count, Meta(description="requests in a gateway; above it 429 at once")] = 256
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
    drain_s: Annotated[Seconds, Meta(description="for running streams of a stopping replica, then they migrate")] = 300.0


class ObjectivesConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is promised, and what it costs."""

    path: Annotated[
        Text | None, Meta(description="folder with objectives/ and what else differs from what ships; left out: what ships")
    ] = None
    prices_file: Annotated[Text | None, Meta(description="prices.yaml: what replicas cost; left out: no costs are shown")] = None


class CaptureConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether content is kept. Nothing else of calmops ever writes a prompt or an answer to a disk."""

    enabled: Annotated[bool, Meta(description="keep prompts and answers in the state folder, for calmops replay; each is audited")] = False
    most_bytes: Annotated[int, Meta(ge=1 << 20, description="of captured requests, for each gateway")] = 64 << 20


class TracingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where traces go, and which. Errors, migrations and broken ledgers are always among them."""

    endpoint: Annotated[
        Address | None, Meta(description="OTLP over HTTP, as in http://127.0.0.1:4318/v1/traces; left out: none leave")
    ] = None
    slowest: Annotated[float, Meta(ge=0, le=1, description="share of requests that counts as slow, and is kept")] = 0.01
    share: Annotated[float, Meta(ge=0, le=1, description="of the other requests, how many are kept")] = 0.01
    baggage: Annotated[tuple[Text, ...], Meta(description="keys of a caller's baggage that its spans show")] = ()


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """calmops.yaml, whole. With no file at all the defaults serve the shipped model."""

    models: Annotated[
        tuple[ModelConfig, ...], Meta(min_length=1, description="the models served, the first is the default")
    ] = (ModelConfig(),)
    environment: Annotated[Name, Meta(description="where this runs, as metrics and prices name it")] = "local"
    http: HttpConfig = HttpConfig()
    telemetry: Annotated[
        bool, Meta(description="false: nothing is recorded, metered or traced, and there is no /metrics; for measuring what it costs")
    ] = True
    kafka: KafkaConfig | None = None
    limits: LimitsConfig = LimitsConfig()
    retention: RetentionConfig = RetentionConfig()
    failover: FailoverConfig = FailoverConfig()
    objectives: ObjectivesConfig = ObjectivesConfig()
    tracing: TracingConfig = TracingConfig()
    capture: CaptureConfig = CaptureConfig()
    vllm_names: Annotated[bool, Meta(description="show the metrics under vLLM's names too; doubles the series")] = False

    def model(self, name: str) -> ModelConfig:
        """The model of that name; ConfigError if there is none."""
        for model in self.models:
            if model.name == name:
                return model
        raise ConfigError(f"no model {name!r} in the configuration; it has {[model.name for model in self.models]}")


def find(path: Path | None) -> Path | None:
    """The file in force: the given one, $CALMOPS_CONFIG, ./calmops.yaml if it is there, else None (the defaults)."""
    if path is not None:
        return path
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named).expanduser()
    return Path(DEFAULT_FILE) if Path(DEFAULT_FILE).is_file() else None


def load(path: Path | None = None) -> Config:
    """Read and check the file in force (see find). Raises one ConfigError that lists every problem, a line each."""
    found = find(path)
    if found is None:
        return Config()
    tree = parse(found, Config, contradictions)
    absolute = _absolute(tree, found.resolve().parent)
    return msgspec.convert(absolute, Config)


def check(config: Config, label: str = "configuration") -> Config:
    """The same record, after flags have changed it; raises ConfigError if two of its settings contradict."""
    refuse(label, contradictions(msgspec.to_builtins(config)), {})
    return config


def to_json(config: Config) -> dict[str, Any]:
    """As plain values, for Ray actors and machines. Holds no secret: those stay where their files are."""
    tree: dict[str, Any] = msgspec.to_builtins(config)
    return tree


def from_json(tree: dict[str, Any]) -> Config:
    """The inverse of to_json. Raises ConfigError for what isn't a configuration."""
    try:
        return msgspec.convert(tree, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"configuration: {error}; `calmops config show --json` prints a valid one") from error


def json_schema() -> dict[str, Any]:
    """The file's JSON schema (draft 2020-12), for editors and machines."""
    schema: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(Config)))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": DEFAULT_FILE} | schema


def admin_token(config: Config) -> str | None:
    """The token that /admin/* asks for, from the environment or its file; None where none is set."""
    return secret(ADMIN_TOKEN_VARIABLE, config.http.admin_token_file, "http.admin_token_file")


def kafka_password(config: Config) -> str | None:
    """The SASL password, from the environment or its file; None where none is set."""
    file = config.kafka.sasl_password_file if config.kafka else None
    return secret(KAFKA_PASSWORD_VARIABLE, file, "kafka.sasl_password_file")


def contradictions(tree: dict[str, Any]) -> list[Problem]:
    """What no single setting shows: settings, each valid, that don't fit together. ``tree``: plain values."""
    config = msgspec.convert(tree, Config)
    found: list[Problem] = []
    names = [model.name for model in config.models]
    for index, name in enumerate(names):
        if name in names[:index]:
            found.append(Problem(f"models[{index}].name", f"{name!r} is used twice; give each model a name of its own"))
    for index, model in enumerate(config.models):
        where = f"models[{index}]"
        if model.path is None and model.name != SHIPPED_MODEL:
            remedy = f"set path to a checkpoint folder, or name it {SHIPPED_MODEL!r} to serve the shipped model"
            found.append(Problem(f"{where}.name", f"{model.name!r} has no path; {remedy}"))
        if model.simulated_gpu and model.device == "cuda":
            found.append(Problem(f"{where}.simulated_gpu", "stands for a GPU on CPU nodes; use device: cpu or auto"))
        if model.quantize and (model.backend == "transformers" or model.device == "cuda"):
            other = "backend: transformers" if model.backend == "transformers" else "device: cuda"
            found.append(Problem(f"{where}.quantize", f"needs the CPU kernel and can't go with {other}; leave one of them out"))
        if model.max_rows_per_step < model.max_sequences:
            given = f"{model.max_rows_per_step} is less than max_sequences ({model.max_sequences})"
            found.append(Problem(f"{where}.max_rows_per_step", f"{given}; each running sequence needs one row a step"))
        if model.replicas == 1 and config.failover.drain_s < config.limits.timeout_s:
            given = f"{config.failover.drain_s:g} is less than limits.timeout_s ({config.limits.timeout_s:g})"
            remedy = f"a redeploy would cut streams of {model.name!r}, whose one replica leaves them nowhere to go; raise it"
            found.append(Problem("failover.drain_s", f"{given}: {remedy}, or {where}.replicas"))
    return found + _silent_contradictions(config) + _http_contradictions(config.http) + _kafka_contradictions(config.kafka)


def _silent_contradictions(config: Config) -> list[Problem]:
    """With telemetry off there is nothing to send, to show or to judge."""
    asked = {"kafka": config.kafka, "tracing.endpoint": config.tracing.endpoint, "vllm_names": config.vllm_names}
    if config.telemetry:
        return []
    return [Problem(name, "needs telemetry, which is off; leave it out, or set telemetry: true") for name, value in asked.items() if value]


def _http_contradictions(http: HttpConfig) -> list[Problem]:
    if http.host in LOOPBACK:
        return []
    if not http.insecure:
        return [Problem("http.host", f"{http.host!r} can be reached by others; set http.insecure: true or 127.0.0.1")]
    if http.admin_token_file is None and not os.environ.get(ADMIN_TOKEN_VARIABLE):
        remedy = f"set it, or the variable {ADMIN_TOKEN_VARIABLE}"
        return [Problem("http.admin_token_file", f"is needed with http.host {http.host!r} (it guards /admin/*); {remedy}")]
    return []


def _kafka_contradictions(kafka: KafkaConfig | None) -> list[Problem]:
    if kafka is None or not kafka.security_protocol.startswith("SASL"):
        return []
    needed = {"sasl_mechanism": kafka.sasl_mechanism, "sasl_username": kafka.sasl_username}
    if not os.environ.get(KAFKA_PASSWORD_VARIABLE):
        needed["sasl_password_file"] = kafka.sasl_password_file
    protocol = kafka.security_protocol
    return [Problem(f"kafka.{key}", f"is needed with {protocol}; set it") for key, value in needed.items() if not value]


def _absolute(tree: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Names of files are relative to the configuration's own folder, so it means the same from anywhere."""

    def walk(value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {name: walk(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner, key) for inner in value]
        if isinstance(value, str) and (key == "path" or key.endswith("file")):
            return str(folder / Path(value).expanduser())
        return value

    absolute: dict[str, Any] = walk(tree, "")
    return absolute
