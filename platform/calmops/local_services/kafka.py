"""This module runs a real Kafka broker on this machine's loopback, for `calmops up --with kafka` and for tests.

It needs Java, and no Docker.
"""

import base64
import hashlib
import shutil
import subprocess
import uuid
from pathlib import Path
from string import Template

import calmops
from calmops.foundation import paths
from calmops.foundation.errors import SetupError
from calmops.local_services.process import LocalProcess, answers

INSTALL_S = 600.0
FORMAT_S = 60.0
HEAP = "512m"
JARS_SHA256 = {
    "kafka_2.13-4.1.0.jar": "0de0471a4c7a9e734c166822a26a4bb064eb81cb2c7a8b1345912cad78997a7b",
    "kafka-clients-4.1.0.jar": "eb74709dc3be35e06208827860c87a94872e8a4b00f466880670785c85a20627",
    "kafka-metadata-4.1.0.jar": "d11d14a04391776f0d52dcebcdc4cc7438495984cd5213b62c0e70dc8b81e2fc",
    "kafka-raft-4.1.0.jar": "0d56f0f0735be4fd2c25da02034ae2d7dd0764298cef7d197e99cb8650e1bb1a",
    "kafka-server-4.1.0.jar": "fb7765a18b46b6635eae385fb1d890955aa67960aa408d5dfe48c17f2d400b9a",
    "kafka-storage-4.1.0.jar": "d4b5cebcd9aeeb2db68b6ff3922bf08e776bb7d4c90f1045768267192625c810",
    "slf4j-api-1.7.36.jar": "d3ef575e3e4979678dc01bf1dcce51021493b4d11fb7f1be8ad982877c16a1c0",
    "slf4j-simple-1.7.36.jar": "2f39bed943d624dfa8f4102d0571283a10870b6aa36f197a8a506f147010c10f",
}


def install(folder: Path) -> str:
    """Fetch the broker's jars with Maven into ``folder``/lib and check them; return that folder.

    Raises SetupError with what is missing and the remedy.
    """
    jars = folder / "lib"
    if _problem(jars) is None:
        return str(jars)
    _need("java", "mvn")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(jars, ignore_errors=True)
    shutil.copy(_deploy_file("pom.xml"), folder / "pom.xml")
    command = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
    try:
        done = subprocess.run(command, cwd=folder, timeout=INSTALL_S, check=False, capture_output=True, text=True)
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"maven was not done after {INSTALL_S:.0f} s; is its repository reachable?") from error
    if done.returncode != 0:
        raise SetupError(f"maven ended with {done.returncode}: {(done.stdout + done.stderr)[-600:].strip()}")
    problem = _problem(jars)
    if problem is not None:
        raise SetupError(f"{problem}; delete {jars} and run `calmops setup kafka` again")
    return str(jars)


class LocalKafka:
    """Runs one broker; its data, log and pid lie in ``folder``. Any process may stop what another one started."""

    def __init__(self, folder: Path, port: int, tools: Path | None = None) -> None:
        """Take the jars from ``tools``, the folder that ``install`` filled. The controller listens on ``port`` + 1."""
        self._folder = folder
        self._port = port
        self._jars = (tools if tools is not None else paths.folder("tools") / "kafka") / "lib"
        self._process = LocalProcess("kafka", folder, [port, port + 1])

    @property
    def bootstrap_servers(self) -> str:
        """Return the address at which clients find the broker."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """Return the pid of the running broker; None if it doesn't run."""
        return self._process.pid

    def start(self, timeout_s: float = 60.0) -> None:
        """Start the broker, or leave it running; return once it answers. Raises SetupError with the remedy."""
        if self.pid is not None:
            return
        _need("java")
        problem = _problem(self._jars)
        if problem is not None:
            raise SetupError(f"{problem}; run `calmops setup kafka`")
        self._process.refuse_taken_ports()
        self._prepare()
        self._process.start(self._java("kafka.Kafka", "server.properties"), lambda: answers(self._port), timeout_s)

    def stop(self, timeout_s: float = 15.0) -> bool:
        """End the broker in order, after ``timeout_s`` by force. Return whether it was running."""
        return self._process.stop(timeout_s)

    def kill(self) -> bool:
        """End the broker by SIGKILL. Return whether it was running."""
        return self._process.kill()

    def _prepare(self) -> None:
        data = self._folder / "data"
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        template = Template(_deploy_file("server.properties").read_text("utf-8"))
        properties = template.substitute(port=self._port, controller_port=self._port + 1, data=data)
        (self._folder / "server.properties").write_text(properties, "utf-8")
        if (data / "meta.properties").exists():
            return
        command = self._java("kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", "server.properties")
        done = subprocess.run(command, cwd=self._folder, timeout=FORMAT_S, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise SetupError(f"kafka could not format {data}: {(done.stdout + done.stderr)[-600:].strip()}")

    def _java(self, *arguments: str) -> list[str]:
        return [
            "java", f"-Xmx{HEAP}", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.net.preferIPv4Stack=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp", f"{self._jars}/*", *arguments,
        ]  # fmt: skip


def _need(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise SetupError(
            f"a local Kafka needs {' and '.join(missing)}, not found on PATH; "
            "on Debian: apt-get install default-jre-headless maven"
        )


def _problem(jars: Path) -> str | None:
    """Return what is wrong with the jars; None if they are the pinned ones."""
    for name, digest in JARS_SHA256.items():
        path = jars / name
        if not path.is_file():
            return f"kafka isn't installed: {path} is missing"
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            return f"{path} is not the file that was pinned (its SHA-256 differs)"
    return None


def _deploy_file(name: str) -> Path:
    """Return a file of deploy/kafka, which lies beside the package in a checkout and inside it in a wheel."""
    package = Path(calmops.__file__).parent
    for folder in (package.parent / "deploy", package / "deploy"):
        if (folder / "kafka" / name).is_file():
            return folder / "kafka" / name
    raise SetupError(f"deploy/kafka/{name} did not come with this installation of calmops; install it again")


def _cluster_id() -> str:
    """Return a Kafka UUID: 22 characters of URL-safe base64 that don't begin like an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
