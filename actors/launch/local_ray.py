"""Starts and ends the local Ray cluster of ``calmops up`` and ``calmops down``, and no other one.

The cluster runs as one child session whose head process is noted in ``run/cluster.json``. Ray's own ``ray stop`` would
end every cluster on the machine.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ray

from actors.cluster.haproxy import haproxy_environment, serve_environment
from actors.launch.ray_token import own_cluster
from calmops.foundation import paths
from calmops.foundation.config import Config, api_url
from calmops.foundation.errors import ConfigError, SetupError, UnavailableError
from calmops.foundation.live_process import end_session, lives, session, started_ticks
from calmops.foundation.ports import free_port

START_S = 60.0  # how long the head node may take to answer
STOP_S = 8.0  # for an orderly end; after that what is left of the session is killed


def record_path() -> Path:
    """Return the path of the record of the running cluster."""
    return paths.folder("run") / "cluster.json"


def running() -> dict[str, Any] | None:
    """Return the record of the cluster that ``up`` started; None if its head process is gone."""
    try:
        record: dict[str, Any] = json.loads(record_path().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return record if lives(record["pid"], record["started_ticks"]) else None


def refuse_another_address(config: Config) -> None:
    """Raise ConfigError if the cluster that runs already answers at another address than the configuration says."""
    record = running()
    if record is not None and record["url"] != api_url(config):
        raise ConfigError(
            f"calmops already runs at {record['url']}; `calmops down` ends it, then `up` can serve at {api_url(config)}"
        )


def start(config: Config) -> dict[str, Any]:
    """Start a head node on loopback, and write down its record.

    Raises SetupError if its process ends, and UnavailableError if it isn't up within START_S.
    """
    port = free_port()
    log = paths.folder("logs") / "ray.log"
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats",
        "--node-ip-address=127.0.0.1", f"--port={port}", "--include-dashboard=false",
        f"--dashboard-agent-listen-port={free_port()}", f"--ray-client-server-port={free_port()}",
        f"--num-cpus={_logical_cpus(config)}", f"--resources={json.dumps(_resources(config))}",
    ]  # fmt: skip
    environment = {
        **os.environ, **own_cluster(), **serve_environment(), **(haproxy_environment(config) or {}),
        "RAY_worker_niceness": "0",  # 15 by default: replicas and gateways are what the cluster is for
        # Ray's own metrics, which nothing here needs, took a core for 25 to 65 ms at a time, and tokens waited for it.
        "RAY_enable_metrics_collection": "0", "REPORTER_UPDATE_INTERVAL_MS": "60000",
    }  # fmt: skip
    with log.open("ab") as sink:
        head = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment, start_new_session=True
        )
    ticks = started_ticks(head.pid)
    record: dict[str, Any] = {
        "address": f"127.0.0.1:{port}",
        "pid": head.pid,
        "started_ticks": ticks,
        "url": api_url(config),
    }
    record_path().write_text(json.dumps(record), encoding="utf-8")
    _await_up(record["address"], head, log)
    return record


def connect(address: str) -> None:
    """Join the cluster as a driver."""
    ray.init(address=address, namespace="calmops", log_to_driver=False, logging_level="ERROR", configure_logging=False)


def disconnect() -> None:
    """Leave the cluster; a driver that stays while its cluster ends is ended by Ray."""
    ray.shutdown()


def stop() -> bool:
    """End the cluster that ``up`` started, with all its processes. Return False if none runs."""
    record = running()
    if record is None:
        record_path().unlink(missing_ok=True)
        return False
    os.kill(record["pid"], signal.SIGTERM)
    until_s = time.monotonic() + STOP_S
    while time.monotonic() < until_s and session(record["pid"]):
        time.sleep(0.1)
    end_session(record["pid"])
    record_path().unlink(missing_ok=True)
    return True


def _await_up(address: str, head: "subprocess.Popen[bytes]", log: Path) -> None:
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s:
        if head.poll() is not None:
            raise SetupError(f"Ray's head node ended with exit code {head.returncode}; its log is {log}")
        with socket.socket() as probe:
            probe.settimeout(0.5)
            if probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) == 0:
                return
        time.sleep(0.1)
    raise UnavailableError(f"Ray's head node wasn't up after {START_S:g} s; its log is {log}")


def _logical_cpus(config: Config) -> int:
    """Return how many CPUs Ray is to count: at least what the gangs ask for, so that a small machine can hold them."""
    wanted = sum(model.replicas * model.tp * model.threads_per_rank for model in config.models)
    return max(os.cpu_count() or 1, wanted) + 1


def _resources(config: Config) -> dict[str, float]:
    simulated = sum(model.replicas * model.tp for model in config.models if model.simulated_gpu)
    return {"simulated_gpu": float(simulated)} if simulated else {}
