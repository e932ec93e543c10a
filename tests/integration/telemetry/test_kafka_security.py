"""Tests SASL and TLS with a real broker: the settings work, and a wrong one is an error within seconds."""

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from calmops.foundation.config_sections import KafkaConfig
from calmops.foundation.ports import free_port
from calmops.local_services import kafka
from calmops.local_services.kafka import LocalKafka
from calmops.local_services.process import answers
from calmops.telemetry.log.errors import LogUnavailable
from calmops.telemetry.log.kafka_log import KafkaSource, KafkaWriter
from calmops.telemetry.settings import KafkaSettings

PASSWORD = "only for this test"
SECURE = """
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller_port,SECURE://127.0.0.1:{port}
advertised.listeners=PLAINTEXT://127.0.0.1:$port,SECURE://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
listener.name.secure.ssl.keystore.type=PKCS12
listener.name.secure.ssl.keystore.location={keys}
listener.name.secure.ssl.keystore.password=changeit
listener.name.secure.sasl.enabled.mechanisms=PLAIN
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  user_calmops="{password}";
"""


def keytool(*arguments: str) -> None:
    """Run Java's keytool on a PKCS12 store with a fixed password."""
    command = ["keytool", *arguments, "-storetype", "PKCS12", "-storepass", "changeit", "-alias", "broker"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a key store with a self-signed certificate for 127.0.0.1; return it and the certificate as PEM."""
    folder.mkdir()
    keys, certificate = folder / "keys.p12", folder / "certificate.pem"
    keytool(
        "-genkeypair", "-keystore", str(keys), "-keyalg", "RSA", "-dname", "CN=127.0.0.1", "-ext", "san=ip:127.0.0.1"
    )  # fmt: skip
    keytool("-exportcert", "-rfc", "-keystore", str(keys), "-file", str(certificate))
    return keys, certificate


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaSettings]:
    """Start a broker with a SASL_SSL listener; yield settings that reach it."""
    folder = tmp_path_factory.mktemp("secure")
    keys, certificate = make_certificate(folder / "tls")
    port, secure_port = free_port(followers=1), free_port()
    plain = kafka._deploy_file("server.properties").read_text("utf-8")
    kept = [
        line for line in plain.splitlines() if not line.startswith(("listeners=", "advertised.", "listener.security"))
    ]
    (folder / "server.properties").write_text(
        "\n".join(kept) + SECURE.format(port=secure_port, keys=keys, password=PASSWORD), "utf-8"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka, "_deploy_file", lambda name: folder / name)
        broker = LocalKafka(folder / "broker", port)
        broker.start()
    end = time.monotonic() + 30
    while not answers(secure_port):  # the broker opens its listeners one after the other
        assert time.monotonic() < end, "the secure listener did not open within 30 s"
        time.sleep(0.05)
    config = KafkaConfig(
        bootstrap_servers=f"127.0.0.1:{secure_port}", topic="secure", security_protocol="SASL_SSL",
        sasl_mechanism="PLAIN", sasl_username="calmops", ssl_cafile=str(certificate),
    )  # fmt: skip
    yield KafkaSettings(config=config, sasl_password=PASSWORD)
    broker.stop()
    shutil.rmtree(folder)


def test_records_are_written_and_read_over_sasl_and_tls(secure: KafkaSettings) -> None:
    writer = KafkaWriter(secure)
    writer.send("gw", b"body")
    assert writer.flush(10.0)
    writer.close()
    source = KafkaSource(secure)
    rows: list[tuple[str, int, bytes]] = []
    end = time.monotonic() + 10
    while not rows and time.monotonic() < end:
        rows = source.read({}, 10)
    source.close()
    assert [body for _, _, body in rows] == [b"body"]


@pytest.mark.parametrize("wrong", ["password", "authority"])
def test_a_wrong_password_or_authority_is_an_error_within_seconds(
    secure: KafkaSettings, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calmops.telemetry.log.kafka_log.CONNECT_MS", 1500)
    if wrong == "password":
        settings = msgspec.structs.replace(secure, sasl_password="guessed")
    else:
        _, other = make_certificate(tmp_path / "tls")
        settings = msgspec.structs.replace(secure, config=msgspec.structs.replace(secure.config, ssl_cafile=str(other)))
    began, before = time.monotonic(), set(threading.enumerate())
    with pytest.raises(LogUnavailable, match="does not answer as SASL_SSL") as raised:
        KafkaWriter(settings)
    assert time.monotonic() - began < 10.0
    assert set(threading.enumerate()) <= before
    assert PASSWORD not in str(raised.value)
    assert "guessed" not in str(raised.value)
