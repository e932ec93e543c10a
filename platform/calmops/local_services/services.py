"""``calmops up --with`` starts real servers beside the platform, on loopback; ``calmops down`` ends them."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from calmops.foundation import paths
from calmops.foundation.config import Config, api_url
from calmops.foundation.config_sections import KafkaConfig
from calmops.foundation.errors import ConfigError
from calmops.local_services.alertmanager import LocalAlertmanager
from calmops.local_services.kafka import LocalKafka
from calmops.local_services.prometheus import RULES, LocalPrometheus, scraping
from calmops.objectives.promises_folder import read_folder
from calmops.objectives.rules.alert_rules import CONSOLE_RUNBOOKS
from calmops.objectives.rules.alertmanager import alertmanager_file
from calmops.objectives.rules.rule_file import as_yaml, rule_file

SERVICES = ("kafka", "prometheus")
KAFKA_PORT, PROMETHEUS_PORT, ALERTMANAGER_PORT = 29092, 29090, 29093
SCRAPE_S = 15


class Started(NamedTuple):
    """Holds the configuration that points at the started services, and each service's address."""

    config: Config
    addresses: dict[str, str]


@contextmanager
def started(config: Config, wanted: str, say: Callable[[str], None]) -> Iterator[Started]:
    """Start services, named in ``wanted`` with commas between; they run on after the block, unless the block raises.

    If it raises, those that were started here are ended; those that ran before go on. Raises ConfigError for a service
    that isn't known, SetupError for one that can't be started.
    """
    before = [name for name, service in _services().items() if service.pid is not None]
    try:
        yield _start(config, wanted, say)
    except BaseException:
        stop_all(kept=before)
        raise


def _start(config: Config, wanted: str, say: Callable[[str], None]) -> Started:
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    unknown = [name for name in names if name not in SERVICES]
    if unknown:
        raise ConfigError(f"--with {unknown[0]}: no such service; there are: {', '.join(SERVICES)}")
    if names and not config.telemetry:
        raise ConfigError(
            f"--with {wanted}: telemetry is off, so there is nothing for it; set telemetry: true in calmops.yaml"
        )
    addresses: dict[str, str] = {}
    if "kafka" in names:
        say("starting a Kafka broker on loopback")
        broker = _kafka()
        broker.start()
        addresses["kafka"] = broker.bootstrap_servers
        config = msgspec.structs.replace(config, kafka=KafkaConfig(bootstrap_servers=broker.bootstrap_servers))
    if "prometheus" in names:
        say("starting Prometheus and Alertmanager on loopback")
        addresses |= _start_prometheus(config)
    return Started(config, addresses)


def stop_all(kept: Collection[str] = ()) -> list[str]:
    """End the running services, except those in ``kept``; return the names of those that were ended."""
    return [name for name, service in _services().items() if name not in kept and service.stop()]


def _services() -> dict[str, LocalKafka | LocalPrometheus | LocalAlertmanager]:
    prometheus, alertmanager = _prometheus()
    return {"kafka": _kafka(), "prometheus": prometheus, "alertmanager": alertmanager}


def _start_prometheus(config: Config) -> dict[str, str]:
    """Start Prometheus and Alertmanager with the rules of the promised objectives; return their addresses.

    The rules link to the runbooks of this platform's console, unless the objectives' folder names runbooks of its own.
    """
    url = api_url(config)
    folder = read_folder(Path(config.objectives.path) if config.objectives.path else None)
    prometheus, alertmanager = _prometheus()
    alertmanager.start(alertmanager_file(folder.receivers, folder.promises.objectives))
    prometheus.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    rules = rule_file(
        folder.promises, folder.links if folder.promises.runbooks else folder.links.beside(url + CONSOLE_RUNBOOKS)
    )
    (prometheus.folder / RULES).write_text(as_yaml(rules), encoding="utf-8")
    prometheus.start(scraping([url.partition("://")[2]], f"127.0.0.1:{alertmanager.port}", SCRAPE_S))
    return {"prometheus": prometheus.url, "alertmanager": alertmanager.url}


def _kafka() -> LocalKafka:
    return LocalKafka(paths.folder("state") / "kafka", KAFKA_PORT)


def _prometheus() -> tuple[LocalPrometheus, LocalAlertmanager]:
    installed, state = paths.folder("tools") / "prometheus", paths.folder("state")
    return (
        LocalPrometheus(installed, state / "prometheus", PROMETHEUS_PORT),
        LocalAlertmanager(installed, state / "alertmanager", ALERTMANAGER_PORT),
    )
