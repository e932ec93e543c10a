"""Reads calmops.yaml into one frozen record of sections (config_sections), finds the file, and refuses contradictions.

A process reads it once, when it starts; inner layers get records or plain values. Secrets are never in the file: they
come from a file that it names, or from the environment (the variables below, read here and nowhere else).
"""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct

from calmops.foundation.config_file import Problem, give_new_names, parse
from calmops.foundation.config_sections import (
    ADMIN_TOKEN_VARIABLE,
    KAFKA_PASSWORD_VARIABLE,
    SHIPPED_MODEL,
    CaptureConfig,
    FailoverConfig,
    GrafanaConfig,
    HttpConfig,
    KafkaConfig,
    LimitsConfig,
    ModelConfig,
    Name,
    ObjectivesConfig,
    PathText,
    RetentionConfig,
    TracingConfig,
)
from calmops.foundation.errors import ConfigError
from calmops.foundation.liveness import broken
from calmops.foundation.model_labels import CONFIGURED, ModelLabels
from calmops.foundation.secret_file import secret

_log = logging.getLogger("calmops.config")
CONFIG_VARIABLE = "CALMOPS_CONFIG"
DEFAULT_FILE = "calmops.yaml"
RENAMED = {"limits.max_waiting": "max_requests"}  # settings of release 0.1, read for one release
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Holds the whole calmops.yaml. With no file at all the defaults serve the shipped model."""

    models: Annotated[
        tuple[ModelConfig, ...], Meta(min_length=1, description="the models served, the first is the default")
    ] = (ModelConfig(),)
    environment: Annotated[
        Name, Meta(description="the name of where this runs, as a label of metrics and in prices.yaml")
    ] = "local"
    http: HttpConfig = HttpConfig()
    telemetry: Annotated[
        bool,
        Meta(
            description="false: nothing is metered or traced, and there is no /metrics; "
            "the request log is written all the same"
        ),
    ] = True
    kafka: KafkaConfig | None = None
    limits: LimitsConfig = LimitsConfig()
    retention: RetentionConfig = RetentionConfig()
    failover: FailoverConfig = FailoverConfig()
    objectives: ObjectivesConfig = ObjectivesConfig()
    tracing: TracingConfig = TracingConfig()
    capture: CaptureConfig = CaptureConfig()
    grafana: GrafanaConfig | None = None
    vllm_names: Annotated[bool, Meta(description="show the metrics under vLLM's names too; doubles the series")] = False


def find(path: Path | None) -> Path | None:
    """Return the file in force: ``path``, else $CALMOPS_CONFIG, else ./calmops.yaml if it exists, else None."""
    if path is not None:
        return path
    from_environment = os.environ.get(CONFIG_VARIABLE)
    if from_environment:
        return Path(from_environment).expanduser()
    return Path(DEFAULT_FILE) if Path(DEFAULT_FILE).is_file() else None


def load(path: Path | None = None) -> Config:
    """Read and check the file in force (see find). Raises one ConfigError that lists every problem, one per line."""
    file = find(path)
    if file is None:
        return Config()
    tree = parse(file, Config, contradictions, RENAMED)
    absolute = _absolute(tree, file.resolve().parent)
    return msgspec.convert(absolute, Config)


def to_json(config: Config) -> dict[str, Any]:
    """Return the configuration as plain values, for Ray actors and machines. No secret is in it."""
    tree: dict[str, Any] = msgspec.to_builtins(config)
    return tree


def from_json(tree: dict[str, Any]) -> Config:
    """Return the configuration that to_json made plain. Raises ConfigError for what isn't a configuration."""
    tree = {name: dict(value) if isinstance(value, dict) else value for name, value in tree.items()}
    for _, message in give_new_names(tree, RENAMED):
        _log.warning("configuration: %s; the old name is read for one release", message)
    try:
        return msgspec.convert(tree, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"configuration: {error}; `calmops config show --json` prints a valid one") from error


def json_schema() -> dict[str, Any]:
    """Return the file's JSON schema (draft 2020-12), for editors and machines."""
    schema: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(Config)))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": DEFAULT_FILE} | schema


def model_labels(config: Config, model: ModelConfig, version: str) -> ModelLabels:
    """Return the label set of a model's numbers. A label is the setting of its name, of the model or the whole file."""
    settings = {name: str(getattr(model, name, None) or getattr(config, name, "")) for name in CONFIGURED}
    return ModelLabels(model=model.name, version=version, **settings)


def api_url(config: Config) -> str:
    """Return where the API answers on this machine, as `http://host:port`; an IPv6 address stands in brackets."""
    host = "127.0.0.1" if config.http.host in ("0.0.0.0", "::") else config.http.host  # noqa: S104  read, not bound
    return f"http://[{host}]:{config.http.port}" if ":" in host else f"http://{host}:{config.http.port}"


def admin_token(config: Config) -> str | None:
    """Return the token that /admin/* requires, from the environment or its file; None if none is set."""
    return secret(ADMIN_TOKEN_VARIABLE, config.http.admin_token_file, "http.admin_token_file")


def kafka_password(config: Config) -> str | None:
    """Return the SASL password, from the environment or its file; None if none is set."""
    file = config.kafka.sasl_password_file if config.kafka else None
    return secret(KAFKA_PASSWORD_VARIABLE, file, "kafka.sasl_password_file")


def contradictions(tree: dict[str, Any]) -> list[Problem]:
    """Return the problems that no single setting shows: settings that are valid but don't fit together.

    ``tree``: plain values.
    """
    config = msgspec.convert(tree, Config)
    return (
        _model_contradictions(config)
        + _liveness_contradictions(config)
        + _telemetry_contradictions(config)
        + _http_contradictions(config.http)
        + _kafka_contradictions(config.kafka)
    )


def _model_contradictions(config: Config) -> list[Problem]:
    problems: list[Problem] = []
    names = [model.name for model in config.models]
    for index, name in enumerate(names):
        if name in names[:index]:
            what = f"{name!r} is used twice; give each model a name of its own"
            problems.append(Problem(f"models[{index}].name", what))
    for index, model in enumerate(config.models):
        where = f"models[{index}]"
        if model.path is None and model.name != SHIPPED_MODEL:
            remedy = f"set path to a checkpoint folder, or name it {SHIPPED_MODEL!r} to serve the shipped model"
            problems.append(Problem(f"{where}.name", f"{model.name!r} has no path; {remedy}"))
        if model.simulated_gpu and model.device == "cuda":
            problems.append(Problem(f"{where}.simulated_gpu", "stands for a GPU on CPU nodes; use device: cpu or auto"))
        if model.quantize and (model.backend == "transformers" or model.device == "cuda"):
            other = "backend: transformers" if model.backend == "transformers" else "device: cuda"
            what = f"needs the CPU kernel and can't go with {other}; leave one of them out"
            problems.append(Problem(f"{where}.quantize", what))
        if model.max_rows_per_step < model.max_sequences:
            given = f"{model.max_rows_per_step} is less than max_sequences ({model.max_sequences})"
            what = f"{given}; each running sequence needs one row per step: raise it, or lower max_sequences"
            problems.append(Problem(f"{where}.max_rows_per_step", what))
        if model.replicas == 1 and config.failover.drain_s < config.limits.timeout_s:
            given = f"{config.failover.drain_s:g} is less than limits.timeout_s ({config.limits.timeout_s:g})"
            reason = f"a redeploy would cut streams of {model.name!r}, which has no other replica for them"
            problems.append(Problem("failover.drain_s", f"{given}: {reason}; raise it, or {where}.replicas"))
    return problems


def _liveness_contradictions(config: Config) -> list[Problem]:
    """Return a problem for every bound on silence that a setting makes too long or too short beside another."""
    failover = config.failover
    return [
        Problem(
            f"failover.{name}", f"{getattr(failover, name):g} is too long beside {order.larger}: {order.why}; lower it"
        )
        for order in broken(failover.stall_s, failover.no_replica_s)
        for name in ("stall_s" if order.smaller == "beat_s" else order.smaller,)
    ]


def _telemetry_contradictions(config: Config) -> list[Problem]:
    """Return a problem for every setting that needs telemetry, if telemetry is off."""
    needing = {"kafka": config.kafka, "tracing.endpoint": config.tracing.endpoint, "vllm_names": config.vllm_names}
    if config.telemetry:
        return []
    return [
        Problem(name, "needs telemetry, which is off; leave it out, or set telemetry: true")
        for name, value in needing.items()
        if value
    ]


def _http_contradictions(http: HttpConfig) -> list[Problem]:
    if http.host in LOOPBACK:
        return []
    if not http.insecure:
        return [Problem("http.host", f"{http.host!r} can be reached by others; set http.insecure: true or 127.0.0.1")]
    if http.admin_token_file is None and not os.environ.get(ADMIN_TOKEN_VARIABLE):
        remedy = f"set it, or the variable {ADMIN_TOKEN_VARIABLE}"
        return [
            Problem("http.admin_token_file", f"is needed with http.host {http.host!r} (it guards /admin/*); {remedy}")
        ]
    return []


def _kafka_contradictions(kafka: KafkaConfig | None) -> list[Problem]:
    if kafka is None:
        return []
    problems = [
        Problem("kafka.bootstrap_servers", f"{server!r} is not host:port; give each broker as host:port")
        for server in kafka.servers()
        if not re.fullmatch(r".+:\d+", server)
    ]
    if not kafka.security_protocol.startswith("SASL"):
        return problems
    needed = {"sasl_mechanism": kafka.sasl_mechanism, "sasl_username": kafka.sasl_username}
    if not os.environ.get(KAFKA_PASSWORD_VARIABLE):
        needed["sasl_password_file"] = kafka.sasl_password_file
    missing = [key for key, value in needed.items() if not value]
    return problems + [Problem(f"kafka.{key}", f"is needed with {kafka.security_protocol}; set it") for key in missing]


def _absolute(tree: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the tree with absolute paths, so that it means the same from anywhere.

    In the file a path is relative to the file's own folder.
    """

    def walk(value: Any, hint: Any) -> Any:
        if isinstance(value, str) and _is_path(hint):
            return str(folder / Path(value).expanduser())
        records = [record for record in _records(hint) if isinstance(value, dict | list)]
        if isinstance(value, list):
            return [walk(item, hint) for item in value]
        if isinstance(value, dict) and records:
            hints = get_type_hints(records[0], include_extras=True)
            return {name: walk(inner, hints.get(name)) for name, inner in value.items()}
        return value

    absolute: dict[str, Any] = walk(tree, Config)
    return absolute


def _is_path(hint: Any) -> bool:
    """Return whether a type is config_sections.PathText, or allows one."""
    return hint == PathText or any(_is_path(inner) for inner in get_args(hint))


def _records(hint: Any) -> Iterator[type[Struct]]:
    """Yield the records that a type is or contains."""
    if isinstance(hint, type) and issubclass(hint, Struct):
        yield hint
    for inner in get_args(hint):
        yield from _records(inner)
