"""Install calmops where it isn't yet, and run bare Ray clusters, as a stranger who deploys it would.

What is installed comes from a clean copy of the commit, into a virtual environment that sees our dependencies but not
calmops. A cluster asks for the token in RAY_AUTH_TOKEN: the caller sets it, and RAY_AUTH_MODE, before it starts one.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Self

import httpx

from calmops.foundation.live_process import end_session
from calmops.foundation.ports import free_port
from tests.support.proofs.kit import ROOT

UP_S, DOWN_S, CLUSTER_S = 300, 60, 60
NOT_COPIED = (".git", "__pycache__", ".*_cache", "build", "*.egg-info")
SEES_CALMOPS = "import ray, torch, importlib.util as u; print(u.find_spec('calmops'))"


class Installed(NamedTuple):
    """Knows a `calmops` that somebody can call, and what it finds in its environment."""

    command: str
    environment: dict[str, str]

    @classmethod
    def of(cls, python: str, state: Path) -> Self:
        """Return that of an interpreter's environment, with a state folder of its own.

        Only this very interpreter also sees this checkout's code.
        """
        environment = os.environ if python == sys.executable else without_path()
        return cls(str(Path(python).with_name("calmops")), {**environment, "CALMOPS_HOME": str(state)})

    @contextlib.contextmanager
    def platform(self, config: Path) -> Iterator[str]:
        """Yield the address of a platform, started and ended from a folder that isn't ours."""
        try:
            started = self._run("up", "--config", str(config), "--json", timeout_s=UP_S)
            assert started.returncode == 0, f"up ended with {started.returncode}: {started.stderr[-1500:]}"
            yield str(json.loads(started.stdout.splitlines()[-1])["url"])
        finally:
            self._run("down", timeout_s=DOWN_S)

    def _run(self, *arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.command, *arguments], cwd="/", env=self.environment, capture_output=True, text=True, check=False,
            timeout=timeout_s,
        )  # fmt: skip


@contextlib.contextmanager
def bare_cluster(python: str, home: Path) -> Iterator[str]:
    """Yield the dashboard's address of a Ray cluster of that interpreter, without calmops' environment."""
    port, dashboard = free_port(), free_port()
    head = subprocess.Popen(
        [python, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats",
         "--node-ip-address=127.0.0.1", f"--port={port}", "--dashboard-host=127.0.0.1",
         f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={free_port()}",
         f"--ray-client-server-port={free_port()}", "--num-cpus=4"],
        env=without_path() | {"CALMOPS_HOME": str(home)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, cwd="/",
    )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{dashboard}/api/version", CLUSTER_S)
        yield f"http://127.0.0.1:{dashboard}"
    finally:
        head.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            head.wait(8)
        end_session(head.pid)
        head.wait()


def wait_for(url: str, limit_s: float) -> None:
    """Wait until ``url`` answers 200. AssertionError after ``limit_s``."""
    until_s, token = time.monotonic() + limit_s, {"authorization": f"Bearer {os.environ['RAY_AUTH_TOKEN']}"}
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=10, headers=token).status_code == 200:
                return
        assert time.monotonic() < until_s, f"{url} doesn't answer after {limit_s:g} s"
        time.sleep(0.5)


def environment_without_calmops(folder: Path) -> str:
    """Make a virtual environment that sees our dependencies but not calmops, and return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    ray = find_spec("ray")
    assert ray is not None and ray.origin is not None, "Ray isn't installed here"
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "dependencies.pth").write_text(f"{Path(ray.origin).parents[1]}\n")
    python = str(folder / "bin" / "python")
    looked = subprocess.run(
        [python, "-c", SEES_CALMOPS], cwd="/", capture_output=True, text=True, check=True, env=without_path()
    )
    assert looked.stdout.strip().endswith("None"), f"calmops is there already: {looked.stdout}"
    return python


def without_path() -> dict[str, str]:
    """Return this process's environment without PYTHONPATH."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def checkout(folder: Path) -> Path:
    """Make a clean copy of the commit, as somebody has it who just cloned it; of the files if this is no repository."""
    target = folder / "checkout"
    if target.exists():
        return target
    clone = ["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", str(target)]
    if subprocess.run(clone, check=False).returncode != 0:
        shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*NOT_COPIED))
    return target


def install_wheel(folder: Path, python: str) -> None:
    """Build the wheel from a clean copy and install it for that interpreter, without its dependencies."""
    pip, dist = [sys.executable, "-m", "pip"], folder / "dist"
    source = str(checkout(folder))
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(dist), source]
    subprocess.run([*pip, *build], check=True)
    wheel = next(dist.glob("calmops-*.whl"))
    print(f"the wheel has {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
    install = ["--python", python, "install", "--quiet", "--no-deps", "--ignore-installed", str(wheel)]
    subprocess.run([*pip, *install], check=True)
