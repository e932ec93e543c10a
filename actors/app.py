"""Makes Serve applications of calmops.yaml: the one wiring place.

``actors.app:telemetry``, ``actors.app:model`` and ``actors.app:gateway`` are the builders that ``serve build``,
``serve deploy`` and ``calmops up`` call. Their arguments are calmops.yaml's own keys; without any the shipped
model is served. Each model variant, the gateway and the meter are applications of their own, so that a rollout
of a model never restarts the other two.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from ray import serve
from ray.serve.config import RequestRouterConfig

import calmops
from actors.cluster.app_names import REPLICA
from actors.cluster.haproxy import serve_environment
from actors.gateway.deployment import Gateway
from actors.gateway.router import LeastTokensRouter
from actors.meter.deployment import Meter
from actors.replica.replica import Replica
from calmops.engine.settings import EngineSettings
from calmops.foundation import config as configuration
from calmops.foundation.config import Config
from calmops.foundation.config_sections import ModelConfig, ObjectivesConfig, TracingConfig
from calmops.foundation.errors import ConfigError
from calmops.foundation.model_labels import CONFIGURED
from calmops.telemetry.settings import KafkaSettings, TelemetrySettings


class Model:
    """Makes a model an application: a stub without a route, since the gateway takes ``Replica``'s handle by name."""

    def __init__(self, replica: serve.handle.DeploymentHandle) -> None:
        self._replica = replica

    def __call__(self) -> str:
        return "models are served through the gateway"


def telemetry(args: Mapping[str, Any]) -> serve.Application:
    """Build the meter's application, pinned to the head node. Raises ConfigError if telemetry is off."""
    config, _, variables = _arguments(args)
    settings = telemetry_settings(config)
    if settings is None:
        raise ConfigError(
            "telemetry: it is off, so there is no meter; set telemetry to true, or leave the application out"
        )
    actor = _actor(variables) | {"resources": {"node:__internal_head__": 0.001}}
    deployment = serve.deployment(Meter).options(
        name="Meter", num_replicas=1, ray_actor_options=actor, max_ongoing_requests=100
    )
    return deployment.bind(settings, meter_config(config))


def model(args: Mapping[str, Any]) -> serve.Application:
    """Build one model's application. ``args["model"]`` names it; it may be left out if only one is configured."""
    config, name, variables = _arguments(args)
    chosen = _chosen(config, name)
    bundle = _bundle(chosen)
    others = {key: amount for key, amount in bundle.items() if key not in ("CPU", "GPU")}
    replica = serve.deployment(Replica).options(
        name=REPLICA,
        num_replicas=chosen.replicas,
        max_ongoing_requests=2 * (config.limits.max_requests + chosen.max_sequences),
        graceful_shutdown_timeout_s=config.failover.drain_s,  # then it is killed, and the streams it still has migrate
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=1.0,
        health_check_timeout_s=5.0,
        placement_group_bundles=[bundle] * chosen.tp,
        placement_group_strategy="STRICT_PACK",
        ray_actor_options={
            **_actor(variables), "num_cpus": bundle.get("CPU", 0), "num_gpus": bundle.get("GPU", 0), "resources": others
        },
        request_router_config=RequestRouterConfig(request_router_class=LeastTokensRouter),
    )  # fmt: skip
    options = {"stall_s": config.failover.stall_s, "load_s": config.failover.load_s}
    bound = replica.bind(chosen.name, engine_settings(chosen), options, bundle)
    stub = serve.deployment(Model).options(name="Model", num_replicas=1, ray_actor_options=_actor(variables))
    return stub.bind(bound)


def gateway(args: Mapping[str, Any]) -> serve.Application:
    """Build the gateway's application, the only one with a route."""
    config, _, variables = _arguments(args)
    deployment = serve.deployment(Gateway).options(
        name="Gateway",
        num_replicas=config.http.gateways,
        max_ongoing_requests=10_000,  # the gateway's own admission refuses long before, with a 429 that says why
        graceful_shutdown_timeout_s=config.limits.timeout_s,
        health_check_period_s=1.0,
        ray_actor_options=_actor(variables),
    )
    folders = {model.name: str(release_folder(model)) for model in config.models}
    return deployment.bind(gateway_config(config), folders, telemetry_settings(config))


def gateway_config(config: Config) -> dict[str, Any]:
    """Return the settings that concern the gateway.

    A rollout of a model must not restart it, so of models it gets only names, releases and labels. The meter's settings
    and the command's are left at their defaults.
    """
    kept = ("name", "path", *(name for name in CONFIGURED if name in ModelConfig.__struct_fields__))
    models = tuple(ModelConfig(**{name: getattr(model, name) for name in kept}) for model in config.models)
    its_own = msgspec.structs.replace(
        config,
        models=models,
        objectives=ObjectivesConfig(),
        vllm_names=False,
        tracing=TracingConfig(baggage=config.tracing.baggage),
        grafana=None,
    )
    return configuration.to_json(its_own)


def release_folder(chosen: ModelConfig) -> Path:
    """Return a model's release folder: its path, or the one shipped under its name. Raises ConfigError without one."""
    if chosen.path is not None:
        folder = Path(chosen.path).expanduser().resolve()
    else:
        folder = Path(calmops.__file__).parent / "models" / chosen.name
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"model {chosen.name!r}: no release in {folder} (config.json is missing). "
            "Set its path in calmops.yaml to a checkpoint folder, or make one with `calmops train`."
        )
    return folder


def engine_settings(chosen: ModelConfig) -> EngineSettings:
    """Return the settings that concern a gang."""
    return EngineSettings(
        folder=release_folder(chosen), tp=chosen.tp, dtype=chosen.dtype, exact=chosen.exact, device=_device(chosen),
        backend=chosen.backend, quantize=chosen.quantize, prefix_cache=chosen.prefix_cache,
        kv_blocks=chosen.kv_blocks, max_sequences=chosen.max_sequences,
        max_rows_per_step=chosen.max_rows_per_step, max_waiting=chosen.max_waiting, threads=chosen.threads_per_rank,
    )  # fmt: skip


def telemetry_settings(config: Config) -> TelemetrySettings | None:
    """Return the log's settings, for the gateway and the meter; None if telemetry is off."""
    if not config.telemetry:
        return None
    kafka = None
    if config.kafka is not None:
        kafka = KafkaSettings(config=config.kafka, sasl_password=configuration.kafka_password(config))
    return TelemetrySettings(retention=config.retention, kafka=kafka)


def meter_config(config: Config) -> dict[str, Any]:
    """Return the settings that concern the meter, and no others: a change of another must not restart it."""
    its_own = Config(
        environment=config.environment,
        objectives=config.objectives,
        tracing=config.tracing,
        vllm_names=config.vllm_names,
    )
    return configuration.to_json(its_own)


def _chosen(config: Config, name: str | None) -> ModelConfig:
    names = [model.name for model in config.models]
    if name is None and len(names) == 1:
        return config.models[0]
    if name not in names:
        raise ConfigError(f"model: {name!r} isn't one of the models configured: {', '.join(names)}")
    return config.models[names.index(name)]


def _device(chosen: ModelConfig) -> Literal["cpu", "cuda"]:
    if chosen.device == "auto":
        return "cpu" if chosen.simulated_gpu or not _gpus() else "cuda"
    return chosen.device


def _gpus() -> bool:
    import ray

    return ray.is_initialized() and ray.cluster_resources().get("GPU", 0) > 0


def _bundle(chosen: ModelConfig) -> dict[str, float]:
    bundle: dict[str, float] = {"CPU": chosen.threads_per_rank}
    if _device(chosen) == "cuda":
        bundle["GPU"] = 1
    if chosen.simulated_gpu:
        bundle["simulated_gpu"] = 1
    return bundle


def _arguments(args: Mapping[str, Any]) -> tuple[Config, str | None, dict[str, str]]:
    """Return calmops.yaml's keys as a configuration, and the values beside them: "model", and `up`'s "variables"."""
    settings = dict(args)
    name, variables = settings.pop("model", None), settings.pop("variables", {})
    return configuration.from_json(settings), name, variables


def _actor(variables: Mapping[str, str]) -> dict[str, Any]:
    return {"num_cpus": 0, "runtime_env": {"env_vars": {**serve_environment(), **variables}}}
